use std::{error::Error as StdError, sync::Arc};

use bytes::Bytes;
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::{
    Error, ErrorKind,
    payload::{self, CODEC, FINGERPRINT, NOT_KEPT},
    proto::Payload,
};

/// Codecs that one value may have gone through, at most.
const MAX_CHAIN: usize = 16;
/// Bytes of a codec's name.
const MAX_NAME: usize = 58;

type Fault = Box<dyn StdError + Send + Sync>;

/// Does something to the bytes of values on their way to the server, such as encryption, and undoes it. The server keeps
/// what it has made, and only who has the codec can read it.
///
/// It is called by the threads of the caller's code, by many at once.
pub trait PayloadCodec: Send + Sync {
    /// What payloads say of it: who reads them looks for the codec of this name. 1 to 58 of `A-Z a-z 0-9 . _ -`.
    fn name(&self) -> &str;

    /// What is sent and kept instead of `data`.
    ///
    /// # Errors
    /// Why it cannot.
    fn encode(&self, data: &[u8]) -> Result<Vec<u8>, Fault>;

    /// What `data` was made from, by whichever version of this codec.
    ///
    /// # Errors
    /// Why it cannot: the key is another, say.
    fn decode(&self, data: &[u8]) -> Result<Vec<u8>, Fault>;

    /// What the server knows equal parameters by, for idempotency keys and for the calls that a later attempt makes
    /// again: it has to be the same for the same `data`, always, also with another key. It is not secret. By default it is
    /// the SHA-256, by which few possible values can be told apart: where that matters, let it depend on a secret that
    /// does not change (HMAC). At most 1 KiB.
    ///
    /// # Errors
    /// Why it cannot.
    fn fingerprint(&self, data: &[u8]) -> Result<Vec<u8>, Fault> {
        Ok(Sha256::digest(data).to_vec())
    }
}

/// The codecs of a client. By default there are none. Cheap to clone.
///
/// They are applied to parameters, results and what a run is resumed with. What people look for and look at stays
/// readable: names, tags, labels, cache keys, errors, messages, logs, and what a pause asks for.
#[derive(Clone, Default)]
pub struct Codecs {
    /// In the order in which they write; the others only read.
    all: Arc<[Arc<dyn PayloadCodec>]>,
    n_writing: usize,
}

impl Codecs {
    /// Values go through each of `codecs` in turn, and are read backwards. Values of before, and those that others have
    /// written without codecs, can be read all the same.
    ///
    /// # Errors
    /// `InvalidArgument` for a name that is none, or two of the same.
    pub fn new(codecs: impl IntoIterator<Item = Arc<dyn PayloadCodec>>) -> Result<Self, Error> {
        Self::default().with(codecs, true)
    }

    /// Can also read what these have written: those that were used before.
    ///
    /// # Errors
    /// As for [`Codecs::new`].
    pub fn also_reading(
        self,
        codecs: impl IntoIterator<Item = Arc<dyn PayloadCodec>>,
    ) -> Result<Self, Error> {
        self.with(codecs, false)
    }

    fn with(
        self,
        codecs: impl IntoIterator<Item = Arc<dyn PayloadCodec>>,
        writing: bool,
    ) -> Result<Self, Error> {
        let mut all = self.all.to_vec();
        for codec in codecs {
            let name = codec.name();
            let is_name = (1..=MAX_NAME).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
            if !is_name {
                let message =
                    format!("the codec's name {name:?} must be 1 to {MAX_NAME} of A-Z a-z 0-9 . _ -");
                return Err(Error::new(ErrorKind::InvalidArgument, message));
            }
            if all.iter().any(|known| known.name() == name) {
                let message =
                    format!("two codecs are named `{name}`: a value could not say by which it is to be read");
                return Err(Error::new(ErrorKind::InvalidArgument, message));
            }
            all.push(codec);
        }
        let n_writing = if writing { all.len() } else { self.n_writing };
        if n_writing > MAX_CHAIN {
            let message = format!("there are {n_writing} codecs; a value goes through {MAX_CHAIN} at most");
            return Err(Error::new(ErrorKind::InvalidArgument, message));
        }
        Ok(Self { all: all.into(), n_writing })
    }

    /// Has `payload` go through the codecs. One that is encoded already, and the mark of a result that is not kept, stay
    /// as they are.
    ///
    /// # Errors
    /// `Payload` when a codec cannot take it.
    pub fn encode(&self, payload: Option<&mut Payload>) -> Result<(), Error> {
        self.encode_by(payload, false)
    }

    /// As [`Codecs::encode`], with what the server knows equal parameters by.
    ///
    /// # Errors
    /// As for that.
    pub fn encode_parameters(&self, payload: Option<&mut Payload>) -> Result<(), Error> {
        self.encode_by(payload, true)
    }

    fn encode_by(&self, payload: Option<&mut Payload>, with_fingerprint: bool) -> Result<(), Error> {
        let Some(payload) = payload else { return Ok(()) };
        let encoding = payload::encoding(payload);
        let stays = encoding == NOT_KEPT || encoding.starts_with(CODEC) || payload.reference.is_some();
        if self.n_writing == 0 || stays {
            return Ok(());
        }
        let mut fingerprint = None;
        for codec in &self.all[..self.n_writing] {
            let cannot = |cause: Fault| {
                let message = format!("the codec `{}` cannot encode a value: {cause}", codec.name());
                Error::new(ErrorKind::Payload, message)
            };
            let data = payload.encode_to_vec();
            if with_fingerprint {
                // Of the one before, so that one codec with a secret is enough.
                let of = fingerprint.as_ref().unwrap_or(&data);
                fingerprint = Some(codec.fingerprint(of).map_err(cannot)?);
            }
            let encoded = codec.encode(&data).map_err(cannot)?;
            *payload = payload::encoded(&format!("{CODEC}{}", codec.name()), encoded);
        }
        if let Some(fingerprint) = fingerprint {
            payload.metadata.insert(FINGERPRINT.to_owned(), fingerprint.into());
        }
        Ok(())
    }

    /// Undoes what codecs have done. A value of a codec that is not here stays as it is; its encoding says which it needs.
    ///
    /// # Errors
    /// `Payload` when a codec cannot read it.
    pub fn decode(&self, payload: Option<&mut Payload>) -> Result<(), Error> {
        let Some(payload) = payload else { return Ok(()) };
        for _ in 0..MAX_CHAIN {
            let Some(codec) = self.codec_of(payload) else { return Ok(()) };
            let decoded =
                codec.decode(&payload.data).and_then(|data| Ok(Payload::decode(Bytes::from(data))?));
            *payload = decoded.map_err(|cause| {
                let name = codec.name();
                let message = format!(
                    "the codec `{name}` cannot read a value: {cause}; it needs the key, or the version, by which the value was \
                     written"
                );
                Error::new(ErrorKind::Payload, message)
            })?;
        }
        Ok(())
    }

    /// True when a value has gone through a codec that is here.
    pub(crate) fn can_decode(&self, payload: &Payload) -> bool {
        self.codec_of(payload).is_some()
    }

    fn codec_of(&self, payload: &Payload) -> Option<&Arc<dyn PayloadCodec>> {
        let name = payload::encoding(payload).strip_prefix(CODEC)?;
        self.all.iter().find(|codec| codec.name() == name)
    }
}

impl std::fmt::Debug for Codecs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.all.iter().map(|codec| codec.name())).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::*;

    /// Adds a byte that is another each time, as a nonce is, and turns all bits of the rest by `key`.
    struct Mask {
        name: &'static str,
        key: u8,
    }

    static NONCE: AtomicU8 = AtomicU8::new(0);

    impl PayloadCodec for Mask {
        fn name(&self) -> &str {
            self.name
        }

        fn encode(&self, data: &[u8]) -> Result<Vec<u8>, Fault> {
            let nonce = NONCE.fetch_add(1, Ordering::Relaxed);
            let masked = data.iter().map(|byte| byte ^ self.key ^ nonce);
            Ok([self.key, nonce].into_iter().chain(masked).collect())
        }

        fn decode(&self, data: &[u8]) -> Result<Vec<u8>, Fault> {
            let [key, nonce, masked @ ..] = data else { return Err("it is too short".into()) };
            if *key != self.key {
                return Err("the key is another".into());
            }
            Ok(masked.iter().map(|byte| byte ^ key ^ nonce).collect())
        }
    }

    fn mask(name: &'static str, key: u8) -> Arc<dyn PayloadCodec> {
        Arc::new(Mask { name, key })
    }

    fn typed() -> Payload {
        let mut payload = payload::json("[1]");
        payload.metadata.insert("type".into(), Bytes::from_static(b"orders:Order"));
        payload
    }

    #[test]
    fn a_value_comes_back_through_all_codecs_with_its_metadata() {
        let codecs = Codecs::new([mask("a", 1), mask("b", 2)]).unwrap();
        let mut payload = typed();
        codecs.encode(Some(&mut payload)).unwrap();
        assert_eq!(payload::encoding(&payload), "codec/b");
        assert_eq!(payload.metadata.len(), 1, "what it says of itself is encoded as well");
        let once = payload.clone();
        codecs.encode(Some(&mut payload)).unwrap();
        assert_eq!(payload, once, "it is not encoded twice");
        codecs.decode(Some(&mut payload)).unwrap();
        assert_eq!(payload, typed());
    }

    #[test]
    fn equal_parameters_are_known_by_their_fingerprint() {
        let codecs = Codecs::new([mask("a", 1), mask("b", 2)]).unwrap();
        let encoded = |codecs: &Codecs, mut payload: Payload| {
            codecs.encode_parameters(Some(&mut payload)).unwrap();
            payload
        };
        let (one, other) = (encoded(&codecs, typed()), encoded(&codecs, typed()));
        assert_ne!(one.data, other.data);
        assert_eq!(payload::identity(&one), payload::identity(&other));
        assert_ne!(payload::identity(&one), payload::identity(&encoded(&codecs, payload::json("[2]"))));
        let rotated = Codecs::new([mask("a", 7), mask("b", 8)]).unwrap();
        assert_eq!(
            payload::identity(&one),
            payload::identity(&encoded(&rotated, typed())),
            "whatever the key"
        );
    }

    #[test]
    fn an_old_codec_is_still_read() {
        let mut payload = typed();
        Codecs::new([mask("old", 1)]).unwrap().encode(Some(&mut payload)).unwrap();
        let rotated = Codecs::new([mask("new", 2)]).unwrap().also_reading([mask("old", 1)]).unwrap();
        let mut fresh = typed();
        rotated.encode(Some(&mut fresh)).unwrap();
        assert_eq!(payload::encoding(&fresh), "codec/new");
        rotated.decode(Some(&mut payload)).unwrap();
        assert_eq!(payload, typed());
    }

    #[test]
    fn what_cannot_be_read_says_by_which_codec_and_why() {
        let mut payload = typed();
        Codecs::new([mask("a", 1)]).unwrap().encode(Some(&mut payload)).unwrap();
        let error = Codecs::new([mask("a", 2)]).unwrap().decode(Some(&mut payload.clone())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Payload);
        assert!(error.message().contains("`a` cannot read a value: the key is another"), "{error}");
        Codecs::default().decode(Some(&mut payload)).unwrap();
        assert_eq!(payload::encoding(&payload), "codec/a", "who does not have it sees what it needs");
    }

    #[test]
    fn a_plain_value_and_the_mark_of_none_stay_as_they_are() {
        let codecs = Codecs::new([mask("a", 1)]).unwrap();
        let mut plain = typed();
        codecs.decode(Some(&mut plain)).unwrap();
        assert_eq!(plain, typed());
        let mut mark = payload::encoded(NOT_KEPT, "");
        codecs.encode(Some(&mut mark)).unwrap();
        assert_eq!(payload::encoding(&mark), NOT_KEPT);
    }

    #[test]
    fn wrong_names_are_refused() {
        assert!(Codecs::new([mask("a/b", 1)]).unwrap_err().is_invalid_argument());
        assert!(Codecs::new([mask("a", 1), mask("a", 2)]).unwrap_err().is_invalid_argument());
    }
}
