//! `tidegate variable …`: named values that runs share. They are no secrets.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tidegate_sdk_core::{Client, Options, proto::SetVariableRequest};

use crate::{
    args::{Format, ServerAddress},
    fault::{Fault, exit},
    output::{variable_json, variable_table},
    run::Printer,
};

#[derive(Args, Debug)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Variables are no secrets: whoever reaches the server reads them.\n\
                  Exit codes: 0 done; 1 error; 2 wrong usage; 3 no such variable; 69 no server answers."
)]
pub struct VariableArgs {
    #[command(flatten)]
    pub server: ServerAddress,
    /// A table for people, or JSON for programs: the field names of the API, times in RFC 3339
    #[arg(short, long, value_enum, default_value = "table", global = true)]
    pub output: Format,
    #[command(subcommand)]
    pub command: VariableCommand,
}

#[derive(Subcommand, Debug)]
pub enum VariableCommand {
    /// List variables, by name
    Ls {
        /// Those whose names begin with this
        #[arg(long, default_value = "")]
        prefix: String,
        /// Those with this tag
        #[arg(long, default_value = "")]
        tag: String,
    },
    /// Print the value of a variable, as JSON
    Get {
        /// The variable's name
        name: String,
    },
    /// Make a variable, or change it
    Set {
        /// The variable's name: characters of a-z 0-9 _ -
        name: String,
        /// Its value: JSON, or else a text
        value: String,
        /// Take the value as a text, also where it is JSON
        #[arg(long)]
        text: bool,
        /// What to find it by; may be given several times
        #[arg(long = "tag")]
        tags: Vec<String>,
        /// What it is for
        #[arg(long, default_value = "")]
        description: String,
        /// Replace one that is there
        #[arg(long)]
        overwrite: bool,
    },
    /// Take a variable away
    Delete {
        /// The variable's name
        name: String,
        /// That there is none is no error
        #[arg(long)]
        allow_missing: bool,
    },
}

/// Does what the arguments say.
pub fn main(args: VariableArgs) -> ExitCode {
    match run(args) {
        Ok(()) => ExitCode::from(exit::OK),
        Err(fault) => fault.report(),
    }
}

fn run(args: VariableArgs) -> Result<(), Fault> {
    let client = Client::new(Options::new(&args.server.address, &args.server.namespace)?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let printer = Printer { format: args.output };
    runtime.block_on(async {
        match args.command {
            VariableCommand::Ls { prefix, tag } => {
                let variables = client.variables(&prefix, &tag).await?;
                if printer.is_json() {
                    printer.document(&Value::Array(variables.iter().map(variable_json).collect()))
                } else {
                    printer.text(&variable_table(&variables))
                }
            }
            VariableCommand::Get { name } => {
                let variable = client.variable(&name).await?;
                if printer.is_json() {
                    printer.document(&variable_json(&variable))
                } else {
                    printer.text(&format!("{}\n", variable.value_json))
                }
            }
            VariableCommand::Set { name, value, text, tags, description, overwrite } => {
                let value_json = json_of(value, text);
                let request = SetVariableRequest {
                    name,
                    value_json,
                    tags,
                    description,
                    overwrite,
                    ..Default::default()
                };
                let (variable, _) = client.set_variable(request).await?;
                if printer.is_json() {
                    printer.document(&variable_json(&variable))
                } else {
                    printer.text(&variable_table(&[variable]))
                }
            }
            VariableCommand::Delete { name, allow_missing } => {
                client.delete_variable(&name, allow_missing).await?;
                if printer.is_json() {
                    printer.document(&json!({ "deleted": name }))
                } else {
                    printer.text(&format!("{name}  deleted\n"))
                }
            }
        }
    })
}

/// The value as JSON.
fn json_of(value: String, is_text: bool) -> String {
    if is_text || serde_json::from_str::<Value>(&value).is_err() {
        Value::String(value).to_string()
    } else {
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_json_is_a_text() {
        for (given, is_text, expected) in [
            ("8080", false, "8080"),
            ("8080", true, "\"8080\""),
            ("{\"a\": 1.50}", false, "{\"a\": 1.50}"),
            ("eu-west \"1\"", false, "\"eu-west \\\"1\\\"\""),
            ("", false, "\"\""),
        ] {
            assert_eq!(json_of(given.to_owned(), is_text), expected);
        }
    }
}
