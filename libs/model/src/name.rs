use std::{fmt, str::FromStr, sync::Arc};

use crate::limits;

/// A name that breaks its rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {what}: {rule}")]
pub struct InvalidName {
    what: &'static str,
    rule: &'static str,
    text: String,
}

const WORD_RULE: &str = "1 to 128 characters of A-Z a-z 0-9 . _ - are allowed";
const KEY_RULE: &str = "1 to 128 characters of a-z 0-9 - are allowed";
const VARIABLE_RULE: &str = "1 to 128 characters of a-z 0-9 _ - are allowed";
const TEXT_RULE: &str = "1 to 256 bytes without control characters are allowed";

fn is_word(text: &str) -> bool {
    (1..=limits::MAX_WORD_SIZE).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

fn is_key(text: &str) -> bool {
    is_variable(text) && !text.contains('_')
}

fn is_variable(text: &str) -> bool {
    is_word(text) && !text.bytes().any(|byte| byte.is_ascii_uppercase() || byte == b'.')
}

fn is_text(text: &str) -> bool {
    (1..=limits::MAX_NAME_SIZE).contains(&text.len()) && !text.chars().any(char::is_control)
}

const DEPLOYMENT_RULE: &str =
    "`flow/deployment` is, such as `etl/nightly`: each part has 1 to 256 bytes without control characters";

/// A flow's name may have slashes, a deployment's may not.
fn is_deployment(text: &str) -> bool {
    text.rsplit_once('/').is_some_and(|(flow, deployment)| is_text(flow) && is_text(deployment))
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $valid:ident, $rule:ident) => {
        $(#[$doc])*
        ///
        /// Cheap to clone.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                if $valid(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(InvalidName { what: $what, rule: $rule, text: text.chars().take(80).collect() })
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

name! {
    /// The tenant boundary: 1 to 128 characters of `[A-Za-z0-9._-]`.
    Namespace, "namespace", is_word, WORD_RULE
}
name! {
    /// A delivery channel: 1 to 128 characters of `[A-Za-z0-9._-]`.
    QueueName, "queue name", is_word, WORD_RULE
}
name! {
    /// Where runs of deployments are started: 1 to 128 characters of `[A-Za-z0-9._-]`.
    WorkPoolName, "work pool name", is_word, WORD_RULE
}
name! {
    /// The name of a flow or task: 1 to 256 bytes, no control characters.
    FunctionName, "flow or task name", is_text, TEXT_RULE
}
name! {
    /// A worker process: 1 to 256 bytes, no control characters.
    WorkerId, "worker id", is_text, TEXT_RULE
}

name! {
    /// What runs take turns by, such as a customer: 1 to 256 bytes, no control characters.
    FairnessKey, "fairness key", is_text, TEXT_RULE
}

name! {
    /// A deployment: `flow/deployment`, each part of 1 to 256 bytes without control characters.
    DeploymentName, "deployment", is_deployment, DEPLOYMENT_RULE
}

impl DeploymentName {
    /// The name of its flow.
    pub fn flow(&self) -> FunctionName {
        let flow = self.0.rsplit_once('/').map_or(self.as_str(), |(flow, _)| flow);
        FunctionName(flow.into())
    }
}

name! {
    /// A schedule within its deployment: 1 to 128 characters of `[A-Za-z0-9._-]`.
    ScheduleName, "schedule name", is_word, WORD_RULE
}
name! {
    /// What artifacts are versions of: 1 to 128 characters of `[a-z0-9-]`.
    ArtifactKey, "key of artifacts", is_key, KEY_RULE
}
name! {
    /// The name of a variable: 1 to 128 characters of `[a-z0-9_-]`.
    VariableName, "variable name", is_variable, VARIABLE_RULE
}
name! {
    /// The name of an automation: 1 to 128 characters of `[A-Za-z0-9._-]`.
    AutomationName, "automation name", is_word, WORD_RULE
}

impl Default for Namespace {
    fn default() -> Self {
        Self("default".into())
    }
}

impl Default for ScheduleName {
    fn default() -> Self {
        Self("default".into())
    }
}

impl Default for QueueName {
    fn default() -> Self {
        Self("default".into())
    }
}

/// Tells flows from tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RunKind {
    /// A function that may start other work.
    Flow,
    /// A unit of work.
    Task,
}

impl RunKind {
    /// `flow` or `task`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Flow => "flow",
            Self::Task => "task",
        }
    }
}

impl FromStr for RunKind {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        match text {
            "flow" => Ok(Self::Flow),
            "task" => Ok(Self::Task),
            _ => Err(InvalidName {
                what: "run kind",
                rule: "flow and task are allowed",
                text: text.chars().take(80).collect(),
            }),
        }
    }
}

impl fmt::Display for RunKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
