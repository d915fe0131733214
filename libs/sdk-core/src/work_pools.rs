//! Work pools: where and how runs of deployments are started.

use crate::{
    Client, Error,
    error::answered,
    new_run_id,
    proto::{self, work_pool_service_client::WorkPoolServiceClient as WorkPools},
};

impl Client {
    /// Makes a work pool; one that is there gets this specification where `update_if_exists` says so. True: it is new.
    ///
    /// # Errors
    /// `InvalidArgument`, `AlreadyExists`, `FailedPrecondition`, `Unavailable`.
    pub async fn create_work_pool(
        &self,
        name: &str,
        spec: proto::WorkPoolSpec,
        update_if_exists: bool,
    ) -> Result<(proto::WorkPool, bool), Error> {
        let request = proto::CreateWorkPoolRequest {
            namespace: self.options().namespace.clone(),
            name: name.to_owned(),
            spec: Some(spec),
            update_if_exists,
            request_id: new_run_id(),
        };
        let send = async |channel, request| WorkPools::new(channel).create_work_pool(request).await;
        let made = self.ask(request, send).await?;
        Ok((answered(made.work_pool, "work_pool")?, made.created))
    }

    /// A work pool, what waits for it and is held, and its workers.
    ///
    /// # Errors
    /// `NotFound`, with names like it; `Unavailable`.
    pub async fn get_work_pool(&self, name: &str) -> Result<proto::GetWorkPoolResponse, Error> {
        let request =
            proto::GetWorkPoolRequest { namespace: self.options().namespace.clone(), name: name.to_owned() };
        self.ask(request, async |channel, request| WorkPools::new(channel).get_work_pool(request).await).await
    }

    /// All work pools, by name.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn work_pools(&self) -> Result<Vec<proto::WorkPool>, Error> {
        self.find_work_pools("").await
    }

    /// Those of them that a filter selects: `ListWorkPoolsRequest.filter`. Empty: all.
    ///
    /// # Errors
    /// `InvalidArgument`, which says what is wrong with the filter; `Unavailable`.
    pub async fn find_work_pools(&self, filter: &str) -> Result<Vec<proto::WorkPool>, Error> {
        let (mut pools, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = proto::ListWorkPoolsRequest {
                namespace: self.options().namespace.clone(),
                page_size: 0,
                page_token,
                filter: filter.to_owned(),
            };
            let send = async |channel, request| WorkPools::new(channel).list_work_pools(request).await;
            let page = self.ask(request, send).await?;
            pools.extend(page.work_pools);
            if page.next_page_token.is_empty() {
                return Ok(pools);
            }
            page_token = page.next_page_token;
        }
    }

    /// Workers by id, live ones and those that were heard of within the last hour; of one pool, unless `work_pool` is empty.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn workers(&self, work_pool: &str) -> Result<Vec<proto::Worker>, Error> {
        self.find_workers(work_pool, "").await
    }

    /// Those of them that a filter selects: `ListWorkersRequest.filter`. Empty: all.
    ///
    /// # Errors
    /// `InvalidArgument`, which says what is wrong with the filter; `Unavailable`.
    pub async fn find_workers(&self, work_pool: &str, filter: &str) -> Result<Vec<proto::Worker>, Error> {
        let (mut workers, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = proto::ListWorkersRequest {
                namespace: self.options().namespace.clone(),
                work_pool: work_pool.to_owned(),
                page_size: 1_000,
                page_token,
                filter: filter.to_owned(),
            };
            let send = async |channel, request| WorkPools::new(channel).list_workers(request).await;
            let page = self.ask(request, send).await?;
            workers.extend(page.workers);
            if page.next_page_token.is_empty() {
                return Ok(workers);
            }
            page_token = page.next_page_token;
        }
    }

    /// Has a worker take no more runs, let those it has end, and then end itself.
    ///
    /// # Errors
    /// `NotFound` where no live worker has this id; `Unavailable`.
    pub async fn drain_worker(&self, worker_id: &str) -> Result<(), Error> {
        let request = proto::DrainWorkerRequest {
            namespace: self.options().namespace.clone(),
            worker_id: worker_id.to_owned(),
            request_id: new_run_id(),
        };
        let send = async |channel, request| WorkPools::new(channel).drain_worker(request).await;
        self.ask(request, send).await.map(drop)
    }

    /// Changes the fields of a work pool's specification that `paths` name.
    ///
    /// # Errors
    /// `InvalidArgument`, `NotFound`, `Unavailable`.
    pub async fn update_work_pool(
        &self,
        name: &str,
        spec: proto::WorkPoolSpec,
        paths: Vec<String>,
    ) -> Result<proto::WorkPool, Error> {
        let request = proto::UpdateWorkPoolRequest {
            namespace: self.options().namespace.clone(),
            name: name.to_owned(),
            spec: Some(spec),
            update_mask: Some(prost_types::FieldMask { paths }),
            etag: String::new(),
            request_id: new_run_id(),
        };
        let send = async |channel, request| WorkPools::new(channel).update_work_pool(request).await;
        answered(self.ask(request, send).await?.work_pool, "work_pool")
    }

    /// Takes a work pool away; with `allow_missing` also where there is none.
    ///
    /// # Errors
    /// `NotFound`, `FailedPrecondition` where deployments name it, `Unavailable`.
    pub async fn delete_work_pool(&self, name: &str, allow_missing: bool) -> Result<(), Error> {
        let request = proto::DeleteWorkPoolRequest {
            namespace: self.options().namespace.clone(),
            name: name.to_owned(),
            etag: String::new(),
            allow_missing,
            request_id: new_run_id(),
        };
        let send = async |channel, request| WorkPools::new(channel).delete_work_pool(request).await;
        self.ask(request, send).await?;
        Ok(())
    }

    /// Has no run of a work pool start any more. What is held goes on.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn pause_work_pool(&self, name: &str, reason: &str) -> Result<proto::WorkPool, Error> {
        let request = proto::PauseWorkPoolRequest {
            namespace: self.options().namespace.clone(),
            name: name.to_owned(),
            reason: reason.to_owned(),
            request_id: new_run_id(),
        };
        let send = async |channel, request| WorkPools::new(channel).pause_work_pool(request).await;
        answered(self.ask(request, send).await?.work_pool, "work_pool")
    }

    /// Has the runs of a work pool start again.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn resume_work_pool(&self, name: &str) -> Result<proto::WorkPool, Error> {
        let request = proto::ResumeWorkPoolRequest {
            namespace: self.options().namespace.clone(),
            name: name.to_owned(),
            request_id: new_run_id(),
        };
        let send = async |channel, request| WorkPools::new(channel).resume_work_pool(request).await;
        answered(self.ask(request, send).await?.work_pool, "work_pool")
    }
}
