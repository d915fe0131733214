use serde::de::IgnoredAny;
use tidegate_engine::{DeleteVariable, Engine, EngineError, SetVariable};
use tidegate_model::{VariableName, limits};
use tidegate_proto::v1::{self, variable_service_server::VariableService};
use tidegate_store::{Variable, VariableKey, VariableQuery};
use tidegate_wire::{
    Violations, check_list, invalid, invalid_field, namespace, page_size, timestamp_to_proto, to_status,
};
use tonic::{Request, Response, Status};

use crate::page_token;

/// `VariableService` over an engine.
pub(crate) struct Service {
    engine: Engine,
}

impl Service {
    pub fn new(engine: Engine) -> Self {
        Self { engine }
    }
}

#[tonic::async_trait]
impl VariableService for Service {
    async fn set_variable(
        &self,
        request: Request<v1::SetVariableRequest>,
    ) -> Result<Response<v1::SetVariableResponse>, Status> {
        let set = parse_set(request.into_inner())?;
        let (variable, created) = self.engine.set_variable(&set).await.map_err(status)?;
        Ok(Response::new(v1::SetVariableResponse { variable: Some(to_proto(&variable)), created }))
    }

    async fn get_variable(
        &self,
        request: Request<v1::GetVariableRequest>,
    ) -> Result<Response<v1::GetVariableResponse>, Status> {
        let request = request.into_inner();
        let key = key(&request.namespace, &request.name, Violations::default())?;
        let variable = self.engine.get_variable(&key).await.map_err(status)?;
        Ok(Response::new(v1::GetVariableResponse { variable: Some(to_proto(&variable)) }))
    }

    async fn batch_get_variables(
        &self,
        request: Request<v1::BatchGetVariablesRequest>,
    ) -> Result<Response<v1::BatchGetVariablesResponse>, Status> {
        let request = request.into_inner();
        let (n_names, most) = (request.names.len(), limits::MAX_LISTED_VARIABLES);
        if !(1..=most).contains(&n_names) {
            return Err(invalid_field("names", format!("has {n_names} names; 1 to {most} are allowed")));
        }
        let mut violations = Violations::default();
        let parse = |(idx, name): (usize, &String)| violations.parse(&format!("names[{idx}]"), name);
        let names: Vec<VariableName> = request.names.iter().enumerate().filter_map(parse).collect();
        if !violations.is_empty() {
            return Err(invalid(violations.into_vec()));
        }
        let found = self.engine.get_variables(&namespace(&request.namespace)?, &names).await;
        let variables = found.map_err(status)?.iter().map(to_proto).collect();
        Ok(Response::new(v1::BatchGetVariablesResponse { variables }))
    }

    async fn list_variables(
        &self,
        request: Request<v1::ListVariablesRequest>,
    ) -> Result<Response<v1::ListVariablesResponse>, Status> {
        let request = request.into_inner();
        let most = limits::MAX_LISTED_VARIABLES;
        let limit = page_size(request.page_size, most)?.min(most);
        let mut violations = Violations::default();
        violations.text("name_prefix", &request.name_prefix, 0, limits::MAX_WORD_SIZE);
        violations.text("tag", &request.tag, 0, limits::MAX_TAG_SIZE);
        if !violations.is_empty() {
            return Err(invalid(violations.into_vec()));
        }
        // The name of the last variable: a list that is ordered by name needs no more.
        let after = page_token::read_plain(&request.page_token)?;
        let query = VariableQuery {
            namespace: namespace(&request.namespace)?,
            name_prefix: request.name_prefix,
            tag: (!request.tag.is_empty()).then_some(request.tag),
            after,
            limit,
        };
        let found = self.engine.list_variables(&query).await.map_err(status)?;
        let next_page_token = page_token::plain(&found, limit, |last| last.key.name.to_string());
        let variables = found.iter().map(to_proto).collect();
        Ok(Response::new(v1::ListVariablesResponse { variables, next_page_token }))
    }

    async fn delete_variable(
        &self,
        request: Request<v1::DeleteVariableRequest>,
    ) -> Result<Response<v1::DeleteVariableResponse>, Status> {
        let request = request.into_inner();
        let mut violations = Violations::default();
        let seen = etag(&request.etag, &mut violations);
        let request_id = if request.request_id.is_empty() {
            None
        } else {
            violations.parse("request_id", &request.request_id)
        };
        let key = key(&request.namespace, &request.name, violations)?;
        let delete = DeleteVariable { key, allow_missing: request.allow_missing, seen, request_id };
        self.engine.delete_variable(&delete).await.map_err(status)?;
        Ok(Response::new(v1::DeleteVariableResponse {}))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn status(error: EngineError) -> Status {
    to_status(&error)
}

/// The variable that is named, unless this or something before it is wrong.
fn key(namespace_text: &str, name: &str, mut violations: Violations) -> Result<VariableKey, Status> {
    let name = violations.parse("name", name);
    let Some(name) = name.filter(|_| violations.is_empty()) else {
        return Err(invalid(violations.into_vec()));
    };
    Ok(VariableKey { namespace: namespace(namespace_text)?, name })
}

fn parse_set(request: v1::SetVariableRequest) -> Result<SetVariable, Status> {
    let mut violations = Violations::default();
    check_value(&request.value_json, &mut violations);
    check_list("tags", &request.tags, (limits::MAX_TAGS, limits::MAX_TAG_SIZE), &mut violations);
    let (size, most) = (request.description.len(), limits::MAX_VARIABLE_DESCRIPTION_SIZE);
    if size > most {
        violations.add("description", format!("has {size} bytes; at most {most} are allowed"));
    }
    let seen = etag(&request.etag, &mut violations);
    let request_id = if request.request_id.is_empty() {
        None
    } else {
        violations.parse("request_id", &request.request_id)
    };
    let key = key(&request.namespace, &request.name, violations)?;
    let v1::SetVariableRequest { value_json: value, tags, description, overwrite, .. } = request;
    Ok(SetVariable { key, value, tags, description, overwrite, seen, request_id })
}

fn etag<T: std::str::FromStr>(text: &str, violations: &mut Violations) -> Option<T> {
    let parsed = text.parse().ok();
    if parsed.is_none() && !text.is_empty() {
        let shown: String = text.chars().take(80).collect();
        violations.add("etag", format!("`{shown}` is none: pass on that of the variable, unchanged"));
    }
    parsed
}

fn check_value(value: &str, violations: &mut Violations) {
    let (size, most) = (value.len(), limits::MAX_VARIABLE_SIZE);
    if size > most {
        let mend = "keep it elsewhere, and its place here";
        violations.add("value_json", format!("has {size} bytes; at most {most} are allowed: {mend}"));
    } else if value.is_empty() {
        violations.add("value_json", "is empty: a text is written \"\" in JSON, and nothing is null");
    } else if let Err(error) = serde_json::from_str::<IgnoredAny>(value) {
        let shown: String = value.chars().take(80).collect();
        violations.add("value_json", format!("`{shown}` is no JSON ({error}): a text stands in quotes"));
    }
}

fn to_proto(variable: &Variable) -> v1::Variable {
    v1::Variable {
        name: variable.key.name.to_string(),
        value_json: variable.value.clone(),
        tags: variable.tags.clone(),
        description: variable.description.clone(),
        etag: variable.revision.to_string(),
        created_at: Some(timestamp_to_proto(variable.created_at)),
        updated_at: Some(timestamp_to_proto(variable.updated_at)),
    }
}
