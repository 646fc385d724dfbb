//! `shout!("text")`: the text in capitals, at compile time, with nothing but the standard library.

use proc_macro::{Literal, TokenStream, TokenTree};

#[proc_macro]
pub fn shout(input: TokenStream) -> TokenStream {
    let text: String = input.to_string().trim_matches('"').to_uppercase();
    TokenStream::from(TokenTree::from(Literal::string(&text)))
}
