use std::{sync::Arc, time::Duration};

use tidegate_model::{Clock, limits};
use tidegate_proto::v1::{self, system_service_server::SystemService};
use tidegate_store::RunStore;
use tidegate_wire::{duration_to_proto, timestamp_to_proto};
use tokio::{sync::OnceCell, time::timeout};
use tonic::{Request, Response, Status};

use crate::{EndpointsConfig, diagnosis::Diagnosis};

/// How long the version of the server waits for its store to tell who it is.
const PATIENCE: Duration = Duration::from_secs(1);

/// `SystemService`: where things are and what is allowed.
pub(crate) struct Service {
    endpoints: EndpointsConfig,
    store: Arc<dyn RunStore>,
    clock: Arc<dyn Clock>,
    max_payload_size: u64,
    diagnosis: Diagnosis,
    server_id: OnceCell<String>,
}

impl Service {
    pub fn new(
        endpoints: EndpointsConfig,
        store: Arc<dyn RunStore>,
        clock: Arc<dyn Clock>,
        max_payload_size: u64,
        diagnosis: Diagnosis,
    ) -> Self {
        Self { endpoints, store, clock, max_payload_size, diagnosis, server_id: OnceCell::new() }
    }
}

#[tonic::async_trait]
impl SystemService for Service {
    async fn get_endpoints(
        &self,
        _request: Request<v1::GetEndpointsRequest>,
    ) -> Result<Response<v1::GetEndpointsResponse>, Status> {
        Ok(Response::new(v1::GetEndpointsResponse {
            task_queue_address: self.endpoints.task_queue.clone(),
            log_ingest_address: self.endpoints.log_ingest.clone(),
        }))
    }

    async fn get_version(
        &self,
        _request: Request<v1::GetVersionRequest>,
    ) -> Result<Response<v1::GetVersionResponse>, Status> {
        let server_id = timeout(PATIENCE, self.server_id.get_or_try_init(|| self.store.server_id())).await;
        Ok(Response::new(v1::GetVersionResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            schema_version: self.store.schema_version(),
            store: self.store.kind().to_owned(),
            server_time: Some(timestamp_to_proto(self.clock.now())),
            server_id: server_id.ok().and_then(Result::ok).cloned().unwrap_or_default(),
        }))
    }

    async fn get_diagnosis(
        &self,
        _request: Request<v1::GetDiagnosisRequest>,
    ) -> Result<Response<v1::GetDiagnosisResponse>, Status> {
        Ok(Response::new(self.diagnosis.look().await))
    }

    async fn get_limits(
        &self,
        _request: Request<v1::GetLimitsRequest>,
    ) -> Result<Response<v1::GetLimitsResponse>, Status> {
        Ok(Response::new(v1::GetLimitsResponse {
            max_message_size_bytes: limits::MAX_MESSAGE_SIZE as u64,
            max_payload_size_bytes: self.max_payload_size,
            max_batch_size: size(limits::MAX_BATCH_SIZE),
            max_tree_depth: limits::MAX_TREE_DEPTH,
            max_tags: size(limits::MAX_TAGS),
            max_tag_size_bytes: size(limits::MAX_TAG_SIZE),
            max_name_size_bytes: size(limits::MAX_NAME_SIZE),
            max_filter_size_bytes: size(limits::MAX_FILTER_SIZE),
            max_filter_depth: size(limits::MAX_FILTER_DEPTH),
            max_filter_comparisons: size(limits::MAX_FILTER_COMPARISONS),
            max_order_size_bytes: size(limits::MAX_ORDER_SIZE),
            max_exact_count: limits::MAX_EXACT_COUNT,
            max_delay: Some(duration_to_proto(limits::MAX_DELAY)),
            max_labels: size(limits::MAX_LABELS),
            max_label_key_size_bytes: size(limits::MAX_LABEL_KEY_SIZE),
            max_label_value_size_bytes: size(limits::MAX_LABEL_VALUE_SIZE),
            max_concurrency_limits: size(limits::MAX_CONCURRENCY_LIMITS),
            max_cache_key_size_bytes: size(limits::MAX_CACHE_KEY_SIZE),
            max_cache_age: Some(duration_to_proto(limits::MAX_CACHE_AGE)),
            max_idempotency_key_size_bytes: size(limits::MAX_IDEMPOTENCY_KEY_SIZE),
            max_error_types: size(limits::MAX_ERROR_TYPES),
            max_pauses: size(limits::MAX_PAUSES),
            max_pause: Some(duration_to_proto(limits::MAX_PAUSE)),
            max_inline_payload_size_bytes: limits::MAX_INLINE_PAYLOAD_SIZE as u64,
            max_message_payload_size_bytes: limits::MAX_MESSAGE_PAYLOAD_SIZE as u64,
            max_payload_chunk_size_bytes: limits::MAX_CHUNK_SIZE as u64,
            max_id_ahead: Some(duration_to_proto(limits::MAX_ID_AHEAD)),
            max_payload_metadata_entries: size(limits::MAX_METADATA_ENTRIES),
            max_payload_metadata_key_size_bytes: size(limits::MAX_METADATA_KEY_SIZE),
            max_payload_metadata_value_size_bytes: size(limits::MAX_METADATA_VALUE_SIZE),
            max_reason_size_bytes: size(limits::MAX_REASON_SIZE),
            max_pause_key_size_bytes: size(limits::MAX_PAUSE_KEY_SIZE),
            max_concurrency_slots: limits::MAX_CONCURRENCY_SLOTS,
            max_concurrency_limit_size_bytes: size(limits::MAX_CONCURRENCY_LIMIT_SIZE),
            max_required_worker_labels: size(limits::MAX_REQUIRED_LABELS),
            max_fairness_key_size_bytes: size(limits::MAX_NAME_SIZE),
            max_worker_labels: size(limits::MAX_WORKER_LABELS),
            max_artifacts: number(limits::MAX_ARTIFACTS),
            max_artifact_versions: number(limits::MAX_ARTIFACT_VERSIONS),
            max_artifact_description_size_bytes: size(limits::MAX_ARTIFACT_DESCRIPTION_SIZE),
            max_variables: number(limits::MAX_VARIABLES),
            max_variable_size_bytes: size(limits::MAX_VARIABLE_SIZE),
            max_variable_description_size_bytes: size(limits::MAX_VARIABLE_DESCRIPTION_SIZE),
            max_deployments: size(limits::MAX_DEPLOYMENTS),
            max_deployment_versions: size(limits::MAX_DEPLOYMENT_VERSIONS),
            max_deployment_json_size_bytes: size(limits::MAX_DEPLOYMENT_JSON_SIZE),
            max_deployment_description_size_bytes: size(limits::MAX_DESCRIPTION_SIZE),
            max_entrypoint_size_bytes: size(limits::MAX_ENTRYPOINT_SIZE),
            max_version_label_size_bytes: size(limits::MAX_VERSION_LABEL_SIZE),
            max_automations: number(limits::MAX_AUTOMATIONS),
            max_automation_description_size_bytes: size(limits::MAX_AUTOMATION_DESCRIPTION_SIZE),
            max_trigger_state_names: size(limits::MAX_TRIGGER_STATE_NAMES),
            max_webhook_url_size_bytes: size(limits::MAX_WEBHOOK_URL_SIZE),
            max_webhook_headers: size(limits::MAX_WEBHOOK_HEADERS),
            max_webhook_header_name_size_bytes: size(limits::MAX_WEBHOOK_HEADER_NAME_SIZE),
            max_webhook_header_value_size_bytes: size(limits::MAX_WEBHOOK_HEADER_VALUE_SIZE),
            max_webhook_timeout: Some(duration_to_proto(limits::MAX_WEBHOOK_TIMEOUT)),
        }))
    }
}

fn size(limit: usize) -> u32 {
    u32::try_from(limit).unwrap_or(u32::MAX)
}

fn number(limit: u64) -> u32 {
    u32::try_from(limit).unwrap_or(u32::MAX)
}
