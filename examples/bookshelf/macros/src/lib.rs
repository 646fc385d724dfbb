//! `#[derive(Columns)]`: the names of a struct's fields, for table headings.

use proc_macro::TokenStream;
use quote::quote;
use syn::{parse_macro_input, Data, DeriveInput, Fields};

#[proc_macro_derive(Columns)]
pub fn derive_columns(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    let name = &input.ident;
    let fields = match &input.data {
        Data::Struct(data) => match &data.fields {
            Fields::Named(fields) => &fields.named,
            _ => return error(&input, "Columns needs named fields"),
        },
        _ => return error(&input, "Columns needs a struct"),
    };
    let names = fields
        .iter()
        .filter_map(|field| field.ident.as_ref())
        .map(ToString::to_string);
    quote! {
        impl #name {
            /// The field names, in the order they are declared.
            pub const COLUMNS: &'static [&'static str] = &[#(#names),*];
        }
    }
    .into()
}

fn error(input: &DeriveInput, text: &str) -> TokenStream {
    syn::Error::new_spanned(&input.ident, text)
        .to_compile_error()
        .into()
}
