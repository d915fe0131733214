use tonic::transport::Channel;

use crate::{
    Client, Error, ErrorKind,
    proto::{self, concurrency_service_client::ConcurrencyServiceClient},
};

fn limits(channel: Channel) -> ConcurrencyServiceClient<Channel> {
    ConcurrencyServiceClient::new(channel)
}

/// What a concurrency limit asks for: slots, a rate, or both.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConcurrencySettings {
    /// How many may be held at once; 0 has every run that needs a slot wait. `None`, with a rate: any number.
    pub max_slots: Option<u32>,
    /// How many may start in a time; `None`: any number.
    pub rate: Option<proto::RateLimit>,
    /// What becomes of a run that finds no slot.
    pub on_collision: proto::CollisionPolicy,
}

impl From<u32> for ConcurrencySettings {
    /// So many slots, and nothing else.
    fn from(max_slots: u32) -> Self {
        Self { max_slots: Some(max_slots), ..Self::default() }
    }
}

/// Concurrency limits.
impl Client {
    /// Defines a limit, or changes what it asks for: a number of slots, or [`ConcurrencySettings`].
    ///
    /// # Errors
    /// `InvalidArgument`, `Unavailable`.
    pub async fn put_concurrency_limit(
        &self,
        name: &str,
        settings: impl Into<ConcurrencySettings>,
    ) -> Result<proto::ConcurrencyLimit, Error> {
        let settings = settings.into();
        let request = proto::PutConcurrencyLimitRequest {
            namespace: self.options().namespace.clone(),
            name: name.to_owned(),
            max_slots: settings.max_slots,
            rate: settings.rate,
            on_collision: settings.on_collision.into(),
            request_id: String::new(),
        };
        let connection = self.connection();
        let response = connection
            .call(|channel| {
                let request = connection.request(request.clone(), None);
                async move { limits(channel).put_concurrency_limit(request).await }
            })
            .await?;
        response.limit.ok_or_else(|| Error::new(ErrorKind::Internal, "the server answered without a limit"))
    }

    /// A limit and who has its slots.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn get_concurrency_limit(
        &self,
        name: &str,
    ) -> Result<proto::GetConcurrencyLimitResponse, Error> {
        let request = proto::GetConcurrencyLimitRequest {
            namespace: self.options().namespace.clone(),
            name: name.to_owned(),
        };
        let connection = self.connection();
        connection
            .call(|channel| {
                let request = connection.request(request.clone(), None);
                async move { limits(channel).get_concurrency_limit(request).await }
            })
            .await
    }

    /// All limits, by name.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn concurrency_limits(&self) -> Result<Vec<proto::ConcurrencyLimit>, Error> {
        self.find_concurrency_limits("").await
    }

    /// Those of them that a filter selects: `ListConcurrencyLimitsRequest.filter`. Empty: all.
    ///
    /// # Errors
    /// `InvalidArgument`, which says what is wrong with the filter; `Unavailable`.
    pub async fn find_concurrency_limits(&self, filter: &str) -> Result<Vec<proto::ConcurrencyLimit>, Error> {
        let connection = self.connection();
        let (mut limits_so_far, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = proto::ListConcurrencyLimitsRequest {
                namespace: self.options().namespace.clone(),
                page_size: 1_000,
                page_token,
                filter: filter.to_owned(),
            };
            let page = connection
                .call(|channel| {
                    let request = connection.request(request.clone(), None);
                    async move { limits(channel).list_concurrency_limits(request).await }
                })
                .await?;
            limits_so_far.extend(page.limits);
            if page.next_page_token.is_empty() {
                return Ok(limits_so_far);
            }
            page_token = page.next_page_token;
        }
    }

    /// Takes a limit away, so that it does not bind; with `allow_missing` also where there is none.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn delete_concurrency_limit(&self, name: &str, allow_missing: bool) -> Result<(), Error> {
        let request = proto::DeleteConcurrencyLimitRequest {
            namespace: self.options().namespace.clone(),
            name: name.to_owned(),
            allow_missing,
            request_id: String::new(),
        };
        let connection = self.connection();
        connection
            .call(|channel| {
                let request = connection.request(request.clone(), None);
                async move { limits(channel).delete_concurrency_limit(request).await }
            })
            .await?;
        Ok(())
    }
}
