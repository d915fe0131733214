//! The border between the wire and the rules: requests are checked and parsed here, runs and errors are
//! turned into messages. A value past this point is valid.

mod deployment;
mod error;
mod parse;
mod payload;
mod policies;
mod report;
mod run;
mod schedule;
mod time;
mod violations;
mod webhook;
mod worker;

pub use deployment::{JSON, check_spec, for_deployment, merge, on_collision};
pub use error::{invalid, invalid_field, to_status};
pub use parse::{
    check_bound_name, check_deployment, check_id_time, check_label_map, check_list, is_traceparent,
    namespace, page_size, parse_draft,
};
pub use payload::{payload_from_proto, payload_to_proto, reference_to_proto, sha256};
pub use report::{ParsedReport, failure_from_proto, failure_to_proto, parse_report, pause_timeout};
pub use run::{
    kind_from_proto, kind_to_proto, run_to_proto, state_parts_to_proto, state_to_proto,
    state_type_from_proto, state_type_to_proto,
};
pub use schedule::check_schedule;
pub use time::{duration_from_proto, duration_to_proto, timestamp_from_proto, timestamp_to_proto};
pub use violations::Violations;
pub use webhook::{SECRET_PREFIX, check_webhook, signing_key};
pub use worker::{worker_from_proto, worker_to_proto};
