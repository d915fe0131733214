use std::{collections::BTreeMap, time::Duration};

use pyo3::{exceptions::PyValueError, prelude::*, types::PyDict};
use tidegate_sdk_core::{
    self as core,
    proto::{self, StateType, automation::Action, set_automation_request},
};

use crate::{
    client::Client,
    new_run::duration,
    of_process::OfProcess,
    op::Op,
    run::state_name,
    schedules::{micros, micros_of},
};

/// The automations of the server that a client speaks to. One comes as a dict of its fields, without its secrets. Times are
/// microseconds since 1970.
#[pyclass(frozen, module = "tidegate._core")]
pub(crate) struct Automations(OfProcess<core::Client>);

#[pymethods]
impl Automations {
    #[new]
    fn new(client: &Client) -> Self {
        Self(OfProcess::new(client.core.clone()))
    }

    /// Makes or changes the automation that calls a webhook.
    #[pyo3(signature = (name, *, description, states, state_names, filter, each_attempt, url, headers, signing_secret,
        timeout, overwrite))]
    #[expect(clippy::too_many_arguments, reason = "they are keywords in Python")]
    fn set(
        &self,
        name: String,
        description: String,
        states: Vec<String>,
        state_names: Vec<String>,
        filter: String,
        each_attempt: bool,
        url: String,
        headers: BTreeMap<String, String>,
        signing_secret: String,
        timeout: Option<f64>,
        overwrite: bool,
    ) -> PyResult<Op> {
        let states =
            states.iter().map(|word| state_of(word).map(i32::from)).collect::<PyResult<Vec<i32>>>()?;
        let timeout = timeout.map(|timeout| duration("timeout", timeout)).transpose()?;
        let webhook = proto::Webhook { url, headers, signing_secret, timeout };
        let request = proto::SetAutomationRequest {
            name,
            description,
            trigger: Some(proto::RunTrigger { states, state_names, filter, each_attempt }),
            action: Some(set_automation_request::Action::Webhook(webhook)),
            overwrite,
            ..Default::default()
        };
        let core = self.0.clone();
        let setting = async move { core.set_automation(request).await };
        Ok(Op::start(self.0.runtime(), setting, |py, (automation, _)| {
            Ok(told(py, automation)?.into_any().unbind())
        }))
    }

    fn get(&self, name: String) -> Op {
        let core = self.0.clone();
        let getting = async move { core.automation(&name).await };
        Op::start(self.0.runtime(), getting, |py, automation| Ok(told(py, automation)?.into_any().unbind()))
    }

    /// All of them, by name.
    fn all(&self) -> Op {
        let core = self.0.clone();
        let listing = async move { core.automations().await };
        Op::start(self.0.runtime(), listing, |py, automations| {
            let automations = automations.into_iter().map(|automation| told(py, automation));
            Ok(automations.collect::<PyResult<Vec<_>>>()?.into_pyobject(py)?.into_any().unbind())
        })
    }

    /// Takes an automation away; the result is False where there was none.
    fn delete(&self, name: String) -> Op {
        let core = self.0.clone();
        let deleting = async move {
            match core.delete_automation(&name, false).await {
                Err(error) if error.is_not_found() => Ok(false),
                done => done.map(|()| true),
            }
        };
        Op::start(self.0.runtime(), deleting, |py, done| {
            Ok(done.into_pyobject(py)?.to_owned().into_any().unbind())
        })
    }

    fn pause(&self, name: String) -> Op {
        let core = self.0.clone();
        let pausing = async move { core.pause_automation(&name).await };
        Op::start(self.0.runtime(), pausing, |py, automation| Ok(told(py, automation)?.into_any().unbind()))
    }

    fn resume(&self, name: String) -> Op {
        let core = self.0.clone();
        let resuming = async move { core.resume_automation(&name).await };
        Op::start(self.0.runtime(), resuming, |py, automation| Ok(told(py, automation)?.into_any().unbind()))
    }

    /// Up to `limit` firings that are still to be carried out or were given up, each as a dict of its fields.
    fn firings(&self, name: String, limit: usize) -> Op {
        let core = self.0.clone();
        let listing = async move { core.firings(&name, limit).await };
        Op::start(self.0.runtime(), listing, |py, firings| {
            let firings = firings.into_iter().map(|firing| told_firing(py, firing));
            Ok(firings.collect::<PyResult<Vec<_>>>()?.into_pyobject(py)?.into_any().unbind())
        })
    }
}

fn told(py: Python<'_>, automation: proto::Automation) -> PyResult<Bound<'_, PyDict>> {
    let trigger = automation.trigger.unwrap_or_default();
    let states: Vec<&str> = trigger.states().map(state_name).collect();
    let webhook = automation.action.map(|Action::Webhook(webhook)| {
        let timeout = webhook.timeout.and_then(|timeout| Duration::try_from(timeout).ok());
        (webhook.url, webhook.headers, webhook.signing_secret, timeout.map(|timeout| timeout.as_secs_f64()))
    });
    let fields = PyDict::new(py);
    fields.set_item("name", automation.name)?;
    fields.set_item("description", automation.description)?;
    fields.set_item("states", states)?;
    fields.set_item("state_names", trigger.state_names)?;
    fields.set_item("filter", trigger.filter)?;
    fields.set_item("each_attempt", trigger.each_attempt)?;
    fields.set_item("webhook", webhook)?;
    fields.set_item("is_paused", automation.is_paused)?;
    fields.set_item("n_succeeded", automation.n_succeeded)?;
    fields.set_item("n_given_up", automation.n_given_up)?;
    fields.set_item("last_error", automation.last_error)?;
    fields.set_item("last_succeeded_at", automation.last_succeeded_at.map(micros_of))?;
    fields.set_item("created_at", micros(automation.created_at))?;
    fields.set_item("updated_at", micros(automation.updated_at))?;
    Ok(fields)
}

fn told_firing(py: Python<'_>, firing: proto::Firing) -> PyResult<Bound<'_, PyDict>> {
    let state = firing.state.unwrap_or_default();
    let fields = PyDict::new(py);
    fields.set_item("run_id", firing.run_id)?;
    fields.set_item("event_seq", firing.event_seq)?;
    fields.set_item("entered_at", micros(state.occurred_at))?;
    fields.set_item("state", (state_name(state.r#type()), state.name, state.message))?;
    fields.set_item("n_tries", firing.n_tries)?;
    fields.set_item("last_error", firing.last_error)?;
    fields.set_item("due_at", firing.due_at.map(micros_of))?;
    fields.set_item("given_up_at", firing.given_up_at.map(micros_of))?;
    Ok(fields)
}

/// The type of a state by its word: `CRASHED`.
fn state_of(word: &str) -> PyResult<StateType> {
    StateType::from_str_name(&format!("STATE_TYPE_{word}"))
        .ok_or_else(|| PyValueError::new_err(format!("`{word}` is no type of a state")))
}
