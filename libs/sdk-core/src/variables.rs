//! Variables: named values that runs share. They are no secrets.

use crate::{
    Client, Error,
    error::answered,
    new_run_id,
    proto::{self, variable_service_client::VariableServiceClient as Variables},
};

impl Client {
    /// Makes or changes a variable; `request` says what it is to be. True: it was made. Namespace and `request_id` are set
    /// here.
    ///
    /// # Errors
    /// `AlreadyExists` where it is there and is not to be replaced; `FailedPrecondition` where it was changed meanwhile;
    /// `InvalidArgument`, `Unavailable`.
    pub async fn set_variable(
        &self,
        mut request: proto::SetVariableRequest,
    ) -> Result<(proto::Variable, bool), Error> {
        request.namespace.clone_from(&self.options().namespace);
        request.request_id = new_run_id();
        let send = async |channel, request| Variables::new(channel).set_variable(request).await;
        let answer = self.ask(request, send).await?;
        Ok((answered(answer.variable, "variable")?, answer.created))
    }

    /// A variable.
    ///
    /// # Errors
    /// `NotFound`, `InvalidArgument`, `Unavailable`.
    pub async fn variable(&self, name: &str) -> Result<proto::Variable, Error> {
        let request =
            proto::GetVariableRequest { namespace: self.options().namespace.clone(), name: name.to_owned() };
        let send = async |channel, request| Variables::new(channel).get_variable(request).await;
        answered(self.ask(request, send).await?.variable, "variable")
    }

    /// All variables whose names begin with `name_prefix` and that have the tag `tag`, by name; empty: any.
    ///
    /// # Errors
    /// `InvalidArgument`, `Unavailable`.
    pub async fn variables(&self, name_prefix: &str, tag: &str) -> Result<Vec<proto::Variable>, Error> {
        let (mut variables, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = proto::ListVariablesRequest {
                namespace: self.options().namespace.clone(),
                name_prefix: name_prefix.to_owned(),
                tag: tag.to_owned(),
                page_size: 0,
                page_token,
            };
            let send = async |channel, request| Variables::new(channel).list_variables(request).await;
            let page = self.ask(request, send).await?;
            variables.extend(page.variables);
            if page.next_page_token.is_empty() {
                return Ok(variables);
            }
            page_token = page.next_page_token;
        }
    }

    /// Takes a variable away; with `allow_missing` also where there is none.
    ///
    /// # Errors
    /// `NotFound`, `InvalidArgument`, `Unavailable`.
    pub async fn delete_variable(&self, name: &str, allow_missing: bool) -> Result<(), Error> {
        let request = proto::DeleteVariableRequest {
            namespace: self.options().namespace.clone(),
            name: name.to_owned(),
            allow_missing,
            etag: String::new(),
            request_id: new_run_id(),
        };
        let send = async |channel, request| Variables::new(channel).delete_variable(request).await;
        self.ask(request, send).await.map(drop)
    }
}
