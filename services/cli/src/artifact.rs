//! `tidegate artifact …`: what runs have to show.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use tidegate_model::ArtifactId;
use tidegate_sdk_core::{
    ArtifactName, Client, Options,
    proto::{ArtifactType, ListArtifactsRequest},
};

use crate::{
    args::{Format, ServerAddress},
    fault::{Fault, exit},
    output::{artifact_detail, artifact_json, artifact_table},
    run::Printer,
};

#[derive(Args, Debug)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done; 1 error; 2 wrong usage; 3 no such artifact; 69 no server answers."
)]
pub struct ArtifactArgs {
    #[command(flatten)]
    pub server: ServerAddress,
    /// A table for people, or JSON for programs: the field names of the API, times in RFC 3339
    #[arg(short, long, value_enum, default_value = "table", global = true)]
    pub output: Format,
    #[command(subcommand)]
    pub command: ArtifactCommand,
}

#[derive(Subcommand, Debug)]
pub enum ArtifactCommand {
    /// List artifacts, the newest first
    Ls(Wanted),
    /// Show one artifact with its data
    Get {
        /// Its id, or its key for the newest version
        name: String,
        /// Which version of the key
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
        version: Option<u64>,
    },
    /// Take an artifact away
    Delete {
        /// Its id
        id: String,
        /// That there is none is no error
        #[arg(long)]
        allow_missing: bool,
    },
}

#[derive(Args, Debug)]
pub struct Wanted {
    /// Those of this run
    #[arg(long)]
    pub run: Option<String>,
    /// Those of this uppermost run and all below it
    #[arg(long)]
    pub root: Option<String>,
    /// Those with this key
    #[arg(long)]
    pub key: Option<String>,
    /// Those of this type
    #[arg(long = "type", value_enum)]
    pub artifact_type: Option<TypeWord>,
    /// The newest version of each key alone
    #[arg(long)]
    pub latest: bool,
    /// The oldest first
    #[arg(long)]
    pub oldest_first: bool,
    /// How many at most
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub limit: u32,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum TypeWord {
    Markdown,
    Table,
    Link,
    Progress,
    Image,
    Json,
}

impl From<TypeWord> for ArtifactType {
    fn from(word: TypeWord) -> Self {
        match word {
            TypeWord::Markdown => Self::Markdown,
            TypeWord::Table => Self::Table,
            TypeWord::Link => Self::Link,
            TypeWord::Progress => Self::Progress,
            TypeWord::Image => Self::Image,
            TypeWord::Json => Self::Json,
        }
    }
}

/// Does what the arguments say.
pub fn main(args: ArtifactArgs) -> ExitCode {
    match run(args) {
        Ok(()) => ExitCode::from(exit::OK),
        Err(fault) => fault.report(),
    }
}

fn run(args: ArtifactArgs) -> Result<(), Fault> {
    let client = Client::new(Options::new(&args.server.address, &args.server.namespace)?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let printer = Printer { format: args.output };
    runtime.block_on(async {
        match args.command {
            ArtifactCommand::Ls(wanted) => ls(&client, &printer, wanted).await,
            ArtifactCommand::Get { name, version } => get(&client, &printer, name, version).await,
            ArtifactCommand::Delete { id, allow_missing } => {
                client.delete_artifact(&id, allow_missing).await?;
                if printer.is_json() {
                    printer.document(&json!({ "deleted": id }))
                } else {
                    printer.text(&format!("{id}  deleted\n"))
                }
            }
        }
    })
}

async fn ls(client: &Client, printer: &Printer, wanted: Wanted) -> Result<(), Fault> {
    let request = ListArtifactsRequest {
        run_id: wanted.run.unwrap_or_default(),
        root_run_id: wanted.root.unwrap_or_default(),
        key: wanted.key.unwrap_or_default(),
        r#type: wanted.artifact_type.map_or(ArtifactType::Unspecified, ArtifactType::from).into(),
        latest: wanted.latest,
        order_by: if wanted.oldest_first { "id" } else { "id desc" }.to_owned(),
        ..Default::default()
    };
    let artifacts = client.artifacts(request, wanted.limit as usize).await?;
    if printer.is_json() {
        printer.document(&Value::Array(artifacts.iter().map(artifact_json).collect()))
    } else {
        printer.text(&artifact_table(&artifacts))
    }
}

async fn get(client: &Client, printer: &Printer, name: String, version: Option<u64>) -> Result<(), Fault> {
    let is_id = name.parse::<ArtifactId>().is_ok();
    let name = match version {
        Some(_) if is_id => {
            return Err(Fault::usage(format!("--version: {name} is the id of one version: leave it out")));
        }
        Some(version) => ArtifactName::Version(name, version),
        None if is_id => ArtifactName::Id(name),
        None => ArtifactName::Latest(name),
    };
    let artifact = client.artifact(name).await?;
    if printer.is_json() {
        printer.document(&artifact_json(&artifact))
    } else {
        printer.text(&artifact_detail(&artifact))
    }
}
