use std::sync::Arc;

use prost::Message as _;
use tidegate_engine::TakenFiring;
use tidegate_model::{Clock, limits};
use tidegate_proto::v1;
use tidegate_service_kit::trace;
use tidegate_store::FiringOutcome;
use tidegate_webhook::{Client, Failure, Message};
use tidegate_wire::{duration_from_proto, signing_key};
use tokio::time::Instant;
use tracing::{Instrument as _, info_span};

use super::{
    body::{body, message_id},
    outcome::outcome_of,
};
use crate::metrics;

/// Tells the web server of what set the automation off, once.
pub(super) async fn carry_out(
    webhooks: Arc<Client>,
    clock: Arc<dyn Clock>,
    taken: TakenFiring,
) -> FiringOutcome {
    let key = &taken.firing.key;
    let span = info_span!(
        "webhook",
        otel.kind = "client",
        namespace = %key.automation.namespace,
        automation.name = %key.automation.name,
        run.id = %key.run_id,
        firing.tries = taken.firing.n_tries
    );
    // In the trace of the run: it is a part of what has become of that.
    if let Some(traceparent) = &taken.run.traceparent {
        trace::set_parent(&span, traceparent);
    }
    let started = Instant::now();
    let told = tell(&webhooks, &*clock, &taken).instrument(span).await;
    ::metrics::histogram!(metrics::WEBHOOK_SECONDS).record(started.elapsed());
    let now = clock.now();
    if told.is_ok() {
        ::metrics::histogram!(metrics::FIRING_DELAY).record(now.since(taken.firing.at));
    }
    outcome_of(told, &taken.firing, now, rand::random())
}

async fn tell(webhooks: &Client, clock: &dyn Clock, taken: &TakenFiring) -> Result<(), Failure> {
    // It was checked when it was set, so a fault is one of another version.
    let unreadable = |what: &str| Failure::Refused(format!("{what} cannot be read: set the automation anew"));
    let webhook =
        v1::Webhook::decode(taken.automation.action.clone()).map_err(|_| unreadable("what is to be done"))?;
    let signing_key = match webhook.signing_secret.as_str() {
        "" => None,
        secret => Some(signing_key(secret).ok_or_else(|| unreadable("the signing secret"))?),
    };
    let timeout = webhook.timeout.as_ref().and_then(duration_from_proto);
    let message = Message {
        id: &message_id(&taken.firing.key),
        sent_at: clock.now(),
        url: &webhook.url,
        headers: &webhook.headers,
        signing_key: signing_key.as_deref(),
        // The lease is as long as the longest allows.
        timeout: timeout.unwrap_or(limits::DEFAULT_WEBHOOK_TIMEOUT).min(limits::MAX_WEBHOOK_TIMEOUT),
        body: body(taken).into(),
    };
    webhooks.send(message).await
}
