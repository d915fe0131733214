//! Work pools: where and how runs of deployments are started.

use crate::{
    Client, Error,
    proto::{self, work_pool_service_client::WorkPoolServiceClient as WorkPools},
};

impl Client {
    /// A pool, what waits for it and is held, and its workers.
    ///
    /// # Errors
    /// `NotFound`, whose message has names like it; `InvalidArgument`, `Unavailable`.
    pub async fn get_work_pool(&self, name: &str) -> Result<proto::GetWorkPoolResponse, Error> {
        let request =
            proto::GetWorkPoolRequest { namespace: self.options().namespace.clone(), name: name.to_owned() };
        let send = async |channel, request| WorkPools::new(channel).get_work_pool(request).await;
        self.ask(request, send).await
    }
}
