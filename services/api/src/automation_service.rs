use std::str::FromStr;

use bytes::Bytes;
use prost::Message as _;
use tidegate_engine::{DeleteAutomation, Engine, EngineError, SetAutomation};
use tidegate_filter::nearest;
use tidegate_model::{AutomationName, RunId, Timestamp, limits};
use tidegate_orchestration::{StateName, StateType};
use tidegate_proto::v1::{
    self, automation::Action, automation_service_server::AutomationService, set_automation_request,
};
use tidegate_store::{Automation, AutomationKey, Firing, Trigger};
use tidegate_wire::{
    SECRET_PREFIX, Violations, check_webhook, duration_to_proto, invalid, namespace, page_size,
    state_parts_to_proto, state_type_from_proto, state_type_to_proto, timestamp_to_proto, to_status,
};
use tonic::{Request, Response, Status};

use crate::page_token;

/// `AutomationService` over an engine.
pub(crate) struct Service {
    engine: Engine,
}

impl Service {
    pub fn new(engine: Engine) -> Self {
        Self { engine }
    }

    async fn pause(
        &self,
        (namespace, name, request_id): (&str, &str, &str),
        paused: bool,
    ) -> Result<v1::Automation, Status> {
        let mut violations = Violations::default();
        let request_id = parse_request_id(request_id, &mut violations);
        let key = key(namespace, name, violations)?;
        let automation = self.engine.pause_automation(&key, paused, request_id).await.map_err(status)?;
        to_proto(&automation)
    }
}

#[tonic::async_trait]
impl AutomationService for Service {
    async fn set_automation(
        &self,
        request: Request<v1::SetAutomationRequest>,
    ) -> Result<Response<v1::SetAutomationResponse>, Status> {
        let set = parse_set(request.into_inner(), self.engine.clock().now())?;
        let (automation, created) = self.engine.set_automation(&set).await.map_err(status)?;
        let automation = Some(to_proto(&automation)?);
        Ok(Response::new(v1::SetAutomationResponse { automation, created }))
    }

    async fn get_automation(
        &self,
        request: Request<v1::GetAutomationRequest>,
    ) -> Result<Response<v1::GetAutomationResponse>, Status> {
        let request = request.into_inner();
        let key = key(&request.namespace, &request.name, Violations::default())?;
        let automation = self.engine.get_automation(&key).await.map_err(status)?;
        Ok(Response::new(v1::GetAutomationResponse { automation: Some(to_proto(&automation)?) }))
    }

    async fn list_automations(
        &self,
        request: Request<v1::ListAutomationsRequest>,
    ) -> Result<Response<v1::ListAutomationsResponse>, Status> {
        let request = request.into_inner();
        let most = limits::MAX_LISTED_AUTOMATIONS;
        let limit = page_size(request.page_size, limits::DEFAULT_PAGE_SIZE)?.min(most);
        // The name of the last automation: a list that is ordered by name needs no more.
        let after: Option<AutomationName> = page_token::read_plain(&request.page_token)?;
        let namespace = namespace(&request.namespace)?;
        let found = self.engine.list_automations(&namespace, after.as_ref(), limit).await.map_err(status)?;
        let next_page_token = page_token::plain(&found, limit, |last| last.key.name.to_string());
        let automations = found.iter().map(to_proto).collect::<Result<_, _>>()?;
        Ok(Response::new(v1::ListAutomationsResponse { automations, next_page_token }))
    }

    async fn delete_automation(
        &self,
        request: Request<v1::DeleteAutomationRequest>,
    ) -> Result<Response<v1::DeleteAutomationResponse>, Status> {
        let request = request.into_inner();
        let mut violations = Violations::default();
        let seen = parse_etag(&request.etag, &mut violations);
        let request_id = parse_request_id(&request.request_id, &mut violations);
        let key = key(&request.namespace, &request.name, violations)?;
        let delete = DeleteAutomation { key, allow_missing: request.allow_missing, seen, request_id };
        self.engine.delete_automation(&delete).await.map_err(status)?;
        Ok(Response::new(v1::DeleteAutomationResponse {}))
    }

    async fn pause_automation(
        &self,
        request: Request<v1::PauseAutomationRequest>,
    ) -> Result<Response<v1::PauseAutomationResponse>, Status> {
        let v1::PauseAutomationRequest { namespace, name, request_id } = request.into_inner();
        let automation = Some(self.pause((&namespace, &name, &request_id), true).await?);
        Ok(Response::new(v1::PauseAutomationResponse { automation }))
    }

    async fn resume_automation(
        &self,
        request: Request<v1::ResumeAutomationRequest>,
    ) -> Result<Response<v1::ResumeAutomationResponse>, Status> {
        let v1::ResumeAutomationRequest { namespace, name, request_id } = request.into_inner();
        let automation = Some(self.pause((&namespace, &name, &request_id), false).await?);
        Ok(Response::new(v1::ResumeAutomationResponse { automation }))
    }

    async fn list_firings(
        &self,
        request: Request<v1::ListFiringsRequest>,
    ) -> Result<Response<v1::ListFiringsResponse>, Status> {
        let request = request.into_inner();
        let limit = page_size(request.page_size, limits::DEFAULT_PAGE_SIZE)?;
        let after: Option<FiringPlace> = page_token::read_plain(&request.page_token)?;
        let key = key(&request.namespace, &request.name, Violations::default())?;
        let after = after.map(|FiringPlace(run_id, seq)| (run_id, seq));
        let found = self.engine.list_firings(&key, after, limit).await.map_err(status)?;
        let place = |last: &Firing| format!("{}/{}", last.key.run_id, last.key.seq);
        let next_page_token = page_token::plain(&found, limit, place);
        let firings = found.into_iter().map(firing_to_proto).collect();
        Ok(Response::new(v1::ListFiringsResponse { firings, next_page_token }))
    }
}

/// Where a page of firings ends: `run/event`.
struct FiringPlace(RunId, u64);

impl FromStr for FiringPlace {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (run_id, seq) = text.split_once('/').ok_or(())?;
        Ok(Self(run_id.parse().map_err(|_| ())?, seq.parse().map_err(|_| ())?))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn status(error: EngineError) -> Status {
    to_status(&error)
}

/// The automation that is named, unless this or something before it is wrong.
fn key(namespace_text: &str, name: &str, mut violations: Violations) -> Result<AutomationKey, Status> {
    let name = violations.parse("name", name);
    let Some(name) = name.filter(|_| violations.is_empty()) else {
        return Err(invalid(violations.into_vec()));
    };
    Ok(AutomationKey { namespace: namespace(namespace_text)?, name })
}

fn parse_request_id(text: &str, violations: &mut Violations) -> Option<RunId> {
    if text.is_empty() { None } else { violations.parse("request_id", text) }
}

fn parse_etag<T: FromStr>(text: &str, violations: &mut Violations) -> Option<T> {
    let parsed = text.parse().ok();
    if parsed.is_none() && !text.is_empty() {
        let shown: String = text.chars().take(80).collect();
        violations.add("etag", format!("`{shown}` is none: pass on that of the automation, unchanged"));
    }
    parsed
}

/// `now` is what spans in the filter count from: here it is only looked whether they can be read.
fn parse_set(request: v1::SetAutomationRequest, now: Timestamp) -> Result<SetAutomation, Status> {
    let mut violations = Violations::default();
    let (size, most) = (request.description.len(), limits::MAX_AUTOMATION_DESCRIPTION_SIZE);
    if size > most {
        violations.add("description", format!("has {size} bytes; at most {most} are allowed"));
    }
    let trigger = parse_trigger(request.trigger.unwrap_or_default(), now, &mut violations);
    let action = parse_action(request.action, &mut violations);
    let seen = parse_etag(&request.etag, &mut violations);
    let request_id = parse_request_id(&request.request_id, &mut violations);
    let key = key(&request.namespace, &request.name, violations)?;
    let (description, overwrite) = (request.description, request.overwrite);
    Ok(SetAutomation { key, description, trigger, action, overwrite, seen, request_id })
}

fn parse_trigger(trigger: v1::RunTrigger, now: Timestamp, violations: &mut Violations) -> Trigger {
    let v1::RunTrigger { states, state_names, filter, each_attempt } = trigger;
    if states.is_empty() && state_names.is_empty() {
        violations.add("trigger", "has neither states nor state_names: name one that sets it off");
    }
    if let Err(error) = tidegate_filter::parse(&filter, now) {
        violations.add("trigger.filter", error.to_string());
    }
    let states = parse_states(&states, violations);
    let state_names = parse_state_names(&state_names, violations);
    Trigger { states, state_names, filter, each_attempt }
}

fn parse_states(numbers: &[i32], violations: &mut Violations) -> Vec<StateType> {
    let mut states = Vec::new();
    if numbers.len() > StateType::ALL.len() {
        violations.count("trigger.states", numbers.len(), StateType::ALL.len());
        return states;
    }
    for (idx, number) in numbers.iter().enumerate() {
        let field = format!("trigger.states[{idx}]");
        match state_type_from_proto(*number) {
            None => {
                violations.add(&field, format!("is {number}: one such as STATE_TYPE_CRASHED (8) is required"))
            }
            Some(state) if states.contains(&state) => {
                violations.add(&field, format!("is {state}, which is named before: name each once"));
            }
            Some(state) => states.push(state),
        }
    }
    states
}

fn parse_state_names(texts: &[String], violations: &mut Violations) -> Vec<StateName> {
    let mut names = Vec::new();
    if texts.len() > limits::MAX_TRIGGER_STATE_NAMES {
        violations.count("trigger.state_names", texts.len(), limits::MAX_TRIGGER_STATE_NAMES);
        return names;
    }
    for (idx, text) in texts.iter().enumerate() {
        let field = format!("trigger.state_names[{idx}]");
        match text.parse::<StateName>() {
            Err(_) => violations.add(&field, no_state_name(text)),
            Ok(name) if names.contains(&name) => {
                violations.add(&field, format!("is {name}, which is named before: name each once"));
            }
            Ok(name) => names.push(name),
        }
    }
    names
}

fn no_state_name(text: &str) -> String {
    let shown: String = text.chars().take(80).collect();
    let known = StateName::ALL.iter().map(|name| name.as_str());
    let lower: Vec<String> = known.clone().map(str::to_lowercase).collect();
    let near = nearest(&shown, lower.iter().map(String::as_str));
    match near.and_then(|near| known.clone().find(|name| name.eq_ignore_ascii_case(near))) {
        Some(near) => format!("`{shown}` is no name of a state; did you mean `{near}`?"),
        None => {
            format!("`{shown}` is no name of a state; there are {}", known.collect::<Vec<_>>().join(", "))
        }
    }
}

/// As it is kept.
fn parse_action(action: Option<set_automation_request::Action>, violations: &mut Violations) -> Bytes {
    let Some(set_automation_request::Action::Webhook(mut webhook)) = action else {
        violations.add("webhook", "is not set: say what is to be done");
        return Bytes::new();
    };
    check_webhook(&webhook, violations);
    // Those that are there go on as they are when the default changes.
    webhook.timeout.get_or_insert_with(|| duration_to_proto(limits::DEFAULT_WEBHOOK_TIMEOUT));
    webhook.encode_to_vec().into()
}

/// That there is one. Like a header without its value it is refused where it is set, so that nobody who sets what was shown
/// loses what was not.
fn shown_secret(secret: &str) -> String {
    if secret.is_empty() { String::new() } else { SECRET_PREFIX.to_owned() }
}

/// Without the secrets of its action.
fn to_proto(automation: &Automation) -> Result<v1::Automation, Status> {
    let v1::Webhook { url, headers, signing_secret, timeout } =
        v1::Webhook::decode(automation.action.clone()).map_err(|error| {
            let cause = format!("the action of automation `{}` cannot be read: {error}", automation.key.name);
            to_status(&EngineError::Internal { cause })
        })?;
    let webhook = v1::Webhook {
        url,
        headers: headers.into_keys().map(|name| (name, String::new())).collect(),
        signing_secret: shown_secret(&signing_secret),
        timeout,
    };
    let (trigger, record) = (&automation.trigger, &automation.record);
    Ok(v1::Automation {
        name: automation.key.name.to_string(),
        description: automation.description.clone(),
        trigger: Some(v1::RunTrigger {
            states: trigger.states.iter().map(|state| state_type_to_proto(*state).into()).collect(),
            state_names: trigger.state_names.iter().map(ToString::to_string).collect(),
            filter: trigger.filter.clone(),
            each_attempt: trigger.each_attempt,
        }),
        action: Some(Action::Webhook(webhook)),
        is_paused: automation.is_paused,
        n_succeeded: record.n_succeeded,
        n_given_up: record.n_given_up,
        last_error: record.last_error.clone(),
        last_succeeded_at: record.last_succeeded_at.map(timestamp_to_proto),
        etag: automation.revision.to_string(),
        created_at: Some(timestamp_to_proto(automation.created_at)),
        updated_at: Some(timestamp_to_proto(automation.updated_at)),
    })
}

fn firing_to_proto(firing: Firing) -> v1::Firing {
    let due_at = timestamp_to_proto(firing.due_at);
    let (due_at, given_up_at) = if firing.is_given_up { (None, Some(due_at)) } else { (Some(due_at), None) };
    v1::Firing {
        run_id: firing.key.run_id.to_string(),
        event_seq: firing.key.seq,
        state: Some(state_parts_to_proto(firing.state_type, firing.state_name, &firing.message, firing.at)),
        n_tries: firing.n_tries,
        last_error: firing.last_error,
        due_at,
        given_up_at,
    }
}
