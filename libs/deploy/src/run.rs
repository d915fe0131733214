//! A run of a deployment: what its caller says, over what the deployment says; the parameters as well.

use std::sync::Arc;

use prost::Message as _;
use serde_json::{Map, Value};
use tidegate_engine::{Deploy, Deployed, EngineError};
use tidegate_model::{FieldViolation, Namespace, Payload, RunId, limits};
use tidegate_proto::v1;
use tidegate_schema::Schemas;
use tidegate_store::{Deployment, WorkPool};
use tidegate_wire::{JSON, Violations, merge, parse_draft};

use crate::job;

/// Compiled schemas that are kept.
pub const N_SCHEMAS: usize = 256;

/// A run of a deployment that is asked for.
pub struct Asked {
    /// The tenant.
    pub namespace: Namespace,
    /// As it was asked for.
    pub new: v1::NewRun,
    /// Its id where `new` has none.
    pub id: RunId,
    /// Where it is in the request.
    pub prefix: String,
    /// The trace that it belongs to.
    pub traceparent: Option<String>,
    /// Compiled schemas of parameters.
    pub schemas: Arc<Schemas>,
}

impl std::fmt::Debug for Asked {
    /// Without the caller's values.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asked")
            .field("id", &self.id)
            .field("deployment", &self.new.deployment)
            .finish_non_exhaustive()
    }
}

impl Deploy for Asked {
    fn deploy(&self, deployment: &Deployment, pool: Option<&WorkPool>) -> Result<Deployed, EngineError> {
        let spec = spec_of(&deployment.spec)?;
        let mut violations = Violations::below(&self.prefix);
        let mut merged = merge(&self.new, &deployment.key.name, &spec);
        let job = match pool {
            Some(pool) => {
                let asked = job::Asked { new: &self.new, deployment: &spec, schemas: &self.schemas };
                asked.job(pool, &mut merged, &mut violations)?
            }
            None if !self.new.job_variables.is_empty() => {
                violations
                    .add("job_variables", "are set, and the deployment has no work pool that would use them");
                None
            }
            None => None,
        };
        let draft = parse_draft(&self.namespace, &merged, self.id, &mut violations);
        let parameters = parameters(self.new.parameters.as_ref(), &spec, &self.schemas, &mut violations);
        match draft {
            Some((mut draft, _)) if violations.is_empty() => {
                draft.traceparent.clone_from(&self.traceparent);
                let job = job.map(|job| job.encode_to_vec().into());
                Ok(Deployed { draft, parameters, job })
            }
            _ => {
                let mut violations = violations.into_vec();
                for FieldViolation { description, .. } in &mut violations {
                    description.push_str(&format!(
                        " (deployment `{}`, version {})",
                        deployment.key.name, deployment.version
                    ));
                }
                Err(EngineError::InvalidFields { violations })
            }
        }
    }
}

/// What a stored specification says.
///
/// # Errors
/// `Internal`, where it is none.
pub fn spec_of(encoded: &[u8]) -> Result<v1::DeploymentSpec, EngineError> {
    v1::DeploymentSpec::decode(encoded).map_err(|error| EngineError::Internal {
        cause: format!("a stored deployment cannot be read: {error}"),
    })
}

/// The default parameters of a deployment. It was seen that they are an object when it was stored.
fn defaults(spec: &v1::DeploymentSpec) -> Map<String, Value> {
    serde_json::from_str(&spec.parameters).unwrap_or_default()
}

/// The parameters of a run, merged and checked; `None`: as they were given, or something was noted.
fn parameters(
    given: Option<&v1::Payload>,
    spec: &v1::DeploymentSpec,
    schemas: &Schemas,
    violations: &mut Violations,
) -> Option<Payload> {
    if spec.parameters.is_empty() && !spec.enforce_parameter_schema {
        return None;
    }
    let given_values = read(given, violations)?;
    let mut values = defaults(spec);
    values.extend(given_values);
    let values = Value::Object(values);
    if spec.enforce_parameter_schema {
        match schemas.check(&spec.parameter_schema, &values) {
            Ok(faults) if faults.is_empty() => {}
            Ok(faults) => {
                for fault in faults {
                    violations.add(&format!("parameters{}", fault.path), fault.message);
                }
                return None;
            }
            Err(error) => {
                violations.add("parameters", format!("cannot be checked: parameter_schema {error}"));
                return None;
            }
        }
    }
    let data = values.to_string();
    if data.len() > limits::MAX_INLINE_PAYLOAD_SIZE {
        violations.add("parameters", too_large(data.len()));
        return None;
    }
    let mut metadata = given.map(|given| given.metadata.clone()).unwrap_or_default();
    metadata.insert("encoding".to_owned(), JSON.into());
    let payload = v1::Payload { metadata, data: data.into(), reference: None };
    Some(Payload::inline(payload.encode_to_vec()))
}

/// The parameters that were given, by name.
fn read(given: Option<&v1::Payload>, violations: &mut Violations) -> Option<Map<String, Value>> {
    let Some(given) = given else { return Some(Map::new()) };
    let size = given.reference.as_ref().map_or(given.data.len() as u64, |reference| reference.size_bytes);
    if given.reference.is_some() || size > limits::MAX_INLINE_PAYLOAD_SIZE as u64 {
        violations.add("parameters", too_large(usize::try_from(size).unwrap_or(usize::MAX)));
        return None;
    }
    let encoding = given.metadata.get("encoding").map_or(JSON.as_bytes(), |encoding| &encoding[..]);
    if encoding == b"null" {
        return Some(Map::new());
    }
    if encoding != JSON.as_bytes() {
        let encoding: String = String::from_utf8_lossy(encoding).chars().take(80).collect();
        violations.add(
            "parameters",
            format!(
                "are encoded as `{encoding}`, which only code can read, so that they can neither be merged over the \
                 defaults nor be checked: send plain JSON values, or deploy without defaults and without enforcing the \
                 schema"
            ),
        );
        return None;
    }
    match serde_json::from_slice::<Value>(&given.data) {
        Ok(Value::Object(values)) => Some(values),
        Ok(Value::Null) => Some(Map::new()),
        Ok(other) => {
            let kind = match other {
                Value::Array(_) => "an array",
                Value::String(_) => "a text",
                Value::Number(_) => "a number",
                _ => "a truth value",
            };
            violations
                .add("parameters", format!("are {kind}: send an object with the parameters by their names"));
            None
        }
        Err(error) => {
            violations.add("parameters", format!("are no JSON: {error}"));
            None
        }
    }
}

fn too_large(size: usize) -> String {
    format!(
        "have {size} bytes; at most {} can be merged over the defaults of a deployment, or checked: pass where the data \
         is instead of the data",
        limits::MAX_INLINE_PAYLOAD_SIZE
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(encoding: &'static str, data: &'static str) -> v1::Payload {
        v1::Payload {
            metadata: [("encoding".to_owned(), encoding.into()), ("codec".to_owned(), "x".into())].into(),
            data: data.into(),
            reference: None,
        }
    }

    fn merged(
        spec: &v1::DeploymentSpec,
        given: Option<&v1::Payload>,
    ) -> Result<Option<v1::Payload>, Vec<(String, String)>> {
        let mut violations = Violations::default();
        let parameters = parameters(given, spec, &Schemas::new(1), &mut violations);
        if violations.is_empty() {
            Ok(parameters.map(|parameters| v1::Payload::decode(parameters.data).expect("is a payload")))
        } else {
            let told = violations.into_vec().into_iter();
            Err(told.map(|violation| (violation.field, violation.description)).collect())
        }
    }

    #[test]
    fn parameters_go_over_the_defaults_and_are_checked() {
        let spec = v1::DeploymentSpec {
            parameters: r#"{"n": 1, "user": {"name": "ada"}}"#.into(),
            parameter_schema: r#"{"properties": {"n": {"type": "integer"}, "user": {"required": ["name"]}}}"#
                .into(),
            enforce_parameter_schema: true,
            ..Default::default()
        };
        let given = payload(JSON, r#"{"n":2}"#);
        let both = merged(&spec, Some(&given)).expect("fit").expect("are merged");
        assert_eq!(&both.data[..], br#"{"n":2,"user":{"name":"ada"}}"#);
        assert_eq!(both.metadata, given.metadata);
        let alone = merged(&spec, None).expect("fit").expect("are the defaults");
        assert_eq!(&alone.data[..], br#"{"n":1,"user":{"name":"ada"}}"#);
        let wrong = merged(&spec, Some(&payload(JSON, r#"{"n": "x", "user": {}}"#))).expect_err("do not fit");
        let fields: Vec<_> = wrong.iter().map(|(field, _)| field.as_str()).collect();
        assert_eq!(fields, ["parameters.n", "parameters.user"]);
        for (payload, told) in [
            (payload("python/pickle", "x"), "`python/pickle`"),
            (payload(JSON, "[1]"), "are an array"),
            (payload(JSON, "{"), "are no JSON"),
        ] {
            let refused = merged(&spec, Some(&payload)).expect_err("are refused");
            assert!(refused[0].1.contains(told), "{refused:?}");
        }
    }

    #[test]
    fn without_defaults_or_a_schema_parameters_stay_as_they_are() {
        let spec = v1::DeploymentSpec { parameter_schema: "{}".into(), ..Default::default() };
        assert_eq!(merged(&spec, Some(&payload("python/pickle", "x"))), Ok(None));
    }
}
