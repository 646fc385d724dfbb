use clap::Parser;

#[derive(Parser)]
struct Args {
    #[arg(default_value = ".")]
    root: String,
    #[arg(long, default_value = "a")]
    pattern: String,
}

#[tokio::main]
async fn main() {
    let args = Args::parse();
    let task = tokio::spawn(async move { leaf::report(&args.root, &args.pattern) });
    let report = task.await.unwrap();
    println!("{}", chrono::Utc::now().to_rfc3339());
    println!("{}", serde_json::to_string(&report).unwrap());
    println!("{}", toml::to_string(&report).unwrap());
}
