use serde::{Serialize, de::DeserializeOwned};
use tidegate_sdk_core::{Error, ErrorKind, payload, proto::Payload};

/// `value` as a payload of JSON.
pub(crate) fn to_payload<T: Serialize + ?Sized>(value: &T) -> Result<Payload, Error> {
    let text = serde_json::to_vec(value).map_err(|error| {
        let name = std::any::type_name::<T>();
        Error::new(ErrorKind::Payload, format!("a value of type {name} cannot be written as JSON: {error}"))
    })?;
    Ok(payload::json(text))
}

/// Parameters as a payload of JSON. Its bytes are the same for the same value, as the server compares them (idempotency
/// keys, calls that a later attempt makes again), and a `HashMap` is written in another order each time.
pub(crate) fn parameters<T: Serialize + ?Sized>(value: &T) -> Result<Payload, Error> {
    match serde_json::to_value(value) {
        Ok(value) => to_payload(&value),
        Err(_) => to_payload(value), // numbers beyond 64 bits can be written all the same
    }
}

/// The value in `payload`; a missing one reads as `null`.
pub(crate) fn from_payload<T: DeserializeOwned>(payload: Option<&Payload>) -> Result<T, Error> {
    let name = std::any::type_name::<T>();
    let empty = Payload::default();
    let payload = payload.unwrap_or(&empty);
    let text: &[u8] = match payload::encoding(payload) {
        payload::JSON => &payload.data,
        payload::NULL => b"null",
        other if other.starts_with(payload::CODEC) => {
            let message = format!(
                "the value was written by the codec `{}`, which this client does not have: give it in Options::codecs",
                &other[payload::CODEC.len()..]
            );
            return Err(Error::new(ErrorKind::Payload, message));
        }
        payload::NOT_KEPT => {
            let is_large = payload.metadata.get("reason").is_some_and(|reason| *reason == "size");
            let cause = if is_large {
                "it is larger than the server keeps (its setting `payload.max_size`), so only the code that called it has \
                 got it; return a reference, such as a path or a key, instead"
            } else {
                "only the code that called it has got it"
            };
            return Err(Error::new(ErrorKind::Payload, format!("the result was not kept: {cause}")));
        }
        other => {
            let message =
                format!("the value is encoded as `{other}`, which cannot be read as {name}: only JSON can");
            return Err(Error::new(ErrorKind::Payload, message));
        }
    };
    serde_json::from_slice(text)
        .map_err(|error| Error::new(ErrorKind::Payload, format!("the value is no {name}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_survives_its_payload() {
        let payload = to_payload(&("a", 1_u8)).unwrap();
        assert_eq!(from_payload::<(String, u8)>(Some(&payload)).unwrap(), ("a".to_owned(), 1));
    }

    #[test]
    fn no_payload_is_nothing() {
        from_payload::<()>(None).unwrap();
        assert!(from_payload::<Option<u8>>(None).unwrap().is_none());
    }

    #[test]
    fn a_pickle_is_refused_by_its_name() {
        let pickle = payload::encoded(payload::PICKLE, "x");
        let error = from_payload::<u8>(Some(&pickle)).unwrap_err();
        assert!(error.to_string().contains("python/pickle"), "{error}");
    }
}
