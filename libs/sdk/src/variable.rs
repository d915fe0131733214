use serde::{Serialize, de::DeserializeOwned};
use tidegate_sdk_core::{Error, ErrorKind, proto};

use crate::{Client, json::to_payload};

/// Variables: named values that runs share. They are no secrets.
impl Client {
    /// Sets a variable, whether it is there or not.
    ///
    /// # Errors
    /// `InvalidArgument`, `Unavailable`; `Payload` where the value cannot be written as JSON.
    pub async fn set_variable(&self, name: &str, value: &(impl Serialize + ?Sized)) -> Result<(), Error> {
        let text = String::from_utf8(to_payload(value)?.data.into());
        let value_json = text.map_err(|error| Error::new(ErrorKind::Payload, error.to_string()))?;
        let request = proto::SetVariableRequest {
            name: name.to_owned(),
            value_json,
            overwrite: true,
            ..Default::default()
        };
        self.core().set_variable(request).await.map(drop)
    }

    /// The value of a variable; `None`: there is none of this name.
    ///
    /// # Errors
    /// `InvalidArgument`, `Unavailable`; `Payload` where the value is no `T`.
    pub async fn variable<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Error> {
        let variable = match self.core().variable(name).await {
            Err(error) if error.is_not_found() => return Ok(None),
            found => found?,
        };
        serde_json::from_str(&variable.value_json).map(Some).map_err(|error| {
            let wanted = std::any::type_name::<T>();
            Error::new(ErrorKind::Payload, format!("the variable `{name}` is no {wanted}: {error}"))
        })
    }

    /// Takes a variable away. That there is none is no error.
    ///
    /// # Errors
    /// `InvalidArgument`, `Unavailable`.
    pub async fn delete_variable(&self, name: &str) -> Result<(), Error> {
        self.core().delete_variable(name, true).await
    }
}
