//! `tidegate artifact …`: what runs have to show.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use tidegate_model::ArtifactId;
use tidegate_sdk_core::{
    ArtifactName, Client,
    proto::{Artifact, ArtifactType, ListArtifactsRequest},
};

use crate::{
    ask::{Outcome, ask},
    common::{Common, Listed, Watch},
    completion::named,
    fault::Fault,
    names::{self, found},
    output::{artifact_detail, artifact_json, artifact_table},
    printer::Printer,
};

#[derive(Args, Debug)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done; 1 error; 2 wrong usage; 3 no such artifact; 69 no server answers."
)]
pub struct ArtifactArgs {
    #[command(flatten)]
    pub common: Common,
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
        #[arg(add = named(names::artifacts))]
        name: String,
        /// Which version of the key
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
        version: Option<u64>,
        #[command(flatten)]
        watch: Watch,
    },
    /// Take an artifact away
    Delete {
        /// Its id
        #[arg(add = named(names::artifact_ids))]
        id: String,
        /// That there is none is no error
        #[arg(long)]
        allow_missing: bool,
    },
}

#[derive(Args, Debug)]
pub struct Wanted {
    /// Those of this run
    #[arg(long, add = named(names::runs))]
    pub run: Option<String>,
    /// Those of this uppermost run and all below it
    #[arg(long, add = named(names::runs))]
    pub root: Option<String>,
    /// Those with this key
    #[arg(long, add = named(names::artifact_keys))]
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
    #[command(flatten)]
    pub listed: Listed,
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
    ask(&args.common, async |client, printer| match args.command {
        ArtifactCommand::Ls(wanted) => ls(client, printer, wanted).await,
        ArtifactCommand::Get { name, version, watch } => get(client, printer, name, version, watch).await,
        ArtifactCommand::Delete { id, allow_missing } => {
            client.delete_artifact(&id, allow_missing).await?;
            printer.answer(|| json!({ "deleted": id }), || format!("{id}  deleted\n"))
        }
    })
}

async fn ls(client: &Client, printer: &Printer, wanted: Wanted) -> Outcome {
    let request = ListArtifactsRequest {
        run_id: wanted.run.unwrap_or_default(),
        root_run_id: wanted.root.unwrap_or_default(),
        key: wanted.key.unwrap_or_default(),
        r#type: wanted.artifact_type.map_or(ArtifactType::Unspecified, ArtifactType::from).into(),
        latest: wanted.latest,
        order_by: if wanted.oldest_first { "id" } else { "id desc" }.to_owned(),
        ..Default::default()
    };
    let listed = &wanted.listed;
    let look = async || {
        let page = async |page_token| {
            let page_size = listed.page_size(wanted.limit);
            let page = ListArtifactsRequest { page_size, page_token, ..request.clone() };
            client.artifact_page(page).await.map(|page| (page.artifacts, page.next_page_token))
        };
        let like = artifact_json(&Artifact::default());
        let artifacts = listed.select_pages(wanted.limit, artifact_json, &like, page).await?;
        Ok(printer.render(|| artifacts.iter().map(artifact_json).collect(), || artifact_table(&artifacts)))
    };
    printer.show(listed.watch, look).await
}

async fn get(
    client: &Client,
    printer: &Printer,
    name: String,
    version: Option<u64>,
    watch: Watch,
) -> Outcome {
    let is_id = name.parse::<ArtifactId>().is_ok();
    let which = match version {
        Some(_) if is_id => {
            return Err(Fault::usage(format!("--version: {name} is the id of one version: leave it out")));
        }
        Some(version) => ArtifactName::Version(name.clone(), version),
        None if is_id => ArtifactName::Id(name.clone()),
        None => ArtifactName::Latest(name.clone()),
    };
    let look = async || {
        let asked = client.artifact(which.clone()).await;
        let artifact = found(asked, &name, names::artifact_keys(client)).await?;
        Ok(printer.render(|| artifact_json(&artifact), || artifact_detail(&artifact)))
    };
    printer.show(watch, look).await
}
