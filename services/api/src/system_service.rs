use std::sync::Arc;

use tidegate_model::{Clock as _, SystemClock, limits};
use tidegate_proto::v1::{self, system_service_server::SystemService};
use tidegate_store::RunStore;
use tidegate_wire::{duration_to_proto, timestamp_to_proto};
use tonic::{Request, Response, Status};

use crate::EndpointsConfig;

/// `SystemService`: where things are and what is allowed.
pub(crate) struct Service {
    endpoints: EndpointsConfig,
    store: Arc<dyn RunStore>,
}

impl Service {
    pub fn new(endpoints: EndpointsConfig, store: Arc<dyn RunStore>) -> Self {
        Self { endpoints, store }
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
        Ok(Response::new(v1::GetVersionResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            schema_version: self.store.schema_version(),
            store: self.store.kind().to_owned(),
            server_time: Some(timestamp_to_proto(SystemClock.now())),
        }))
    }

    async fn get_limits(
        &self,
        _request: Request<v1::GetLimitsRequest>,
    ) -> Result<Response<v1::GetLimitsResponse>, Status> {
        Ok(Response::new(v1::GetLimitsResponse {
            max_message_size_bytes: limits::MAX_MESSAGE_SIZE as u64,
            max_payload_size_bytes: limits::MAX_PAYLOAD_SIZE as u64,
            max_batch_size: u32::try_from(limits::MAX_BATCH_SIZE).unwrap_or(u32::MAX),
            max_tree_depth: limits::MAX_TREE_DEPTH,
            max_tags: u32::try_from(limits::MAX_TAGS).unwrap_or(u32::MAX),
            max_tag_size_bytes: u32::try_from(limits::MAX_TAG_SIZE).unwrap_or(u32::MAX),
            max_name_size_bytes: u32::try_from(limits::MAX_NAME_SIZE).unwrap_or(u32::MAX),
            max_filter_size_bytes: u32::try_from(limits::MAX_FILTER_SIZE).unwrap_or(u32::MAX),
            max_delay: Some(duration_to_proto(limits::MAX_DELAY)),
        }))
    }
}
