//! `tidegate variable …`: named values that runs share. They are no secrets.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tidegate_sdk_core::proto::{SetVariableRequest, Variable};

use crate::{
    ask::ask,
    common::{Common, Listed, Watch},
    completion::named,
    names::{self, found},
    output::{variable_json, variable_table},
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
    pub common: Common,
    #[command(subcommand)]
    pub command: VariableCommand,
}

#[derive(Subcommand, Debug)]
pub enum VariableCommand {
    /// List variables, by name
    Ls {
        /// Those whose names begin with this
        #[arg(long, default_value = "", add = named(names::variables))]
        prefix: String,
        /// Those with this tag
        #[arg(long, default_value = "", add = named(names::variable_tags))]
        tag: String,
        #[command(flatten)]
        listed: Listed,
    },
    /// Print the value of a variable, as JSON
    Get {
        /// The variable's name
        #[arg(add = named(names::variables))]
        name: String,
        #[command(flatten)]
        watch: Watch,
    },
    /// Make a variable, or change it
    Set {
        /// The variable's name: characters of a-z 0-9 _ -
        #[arg(add = named(names::variables))]
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
        #[arg(add = named(names::variables))]
        name: String,
        /// That there is none is no error
        #[arg(long)]
        allow_missing: bool,
    },
}

/// Does what the arguments say.
pub fn main(args: VariableArgs) -> ExitCode {
    ask(&args.common, async |client, printer| match args.command {
        VariableCommand::Ls { prefix, tag, listed } => {
            let look = async || {
                let like = variable_json(&Variable::default());
                let variables =
                    listed.select(client.variables(&prefix, &tag).await?, variable_json, &like)?;
                Ok(printer
                    .render(|| variables.iter().map(variable_json).collect(), || variable_table(&variables)))
            };
            printer.show(listed.watch, look).await
        }
        VariableCommand::Get { name, watch } => {
            let look = async || {
                let asked = client.variable(&name).await;
                let variable = found(asked, &name, names::variables(client)).await?;
                Ok(printer.render(|| variable_json(&variable), || format!("{}\n", variable.value_json)))
            };
            printer.show(watch, look).await
        }
        VariableCommand::Set { name, value, text, tags, description, overwrite } => {
            let value_json = json_of(value, text);
            let request =
                SetVariableRequest { name, value_json, tags, description, overwrite, ..Default::default() };
            let (variable, _) = client.set_variable(request).await?;
            printer.answer(|| variable_json(&variable), || variable_table(std::slice::from_ref(&variable)))
        }
        VariableCommand::Delete { name, allow_missing } => {
            let deleted = client.delete_variable(&name, allow_missing).await;
            found(deleted, &name, names::variables(client)).await?;
            printer.answer(|| json!({ "deleted": name }), || format!("{name}  deleted\n"))
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
