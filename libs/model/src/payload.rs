use bytes::Bytes;

/// A user's value as it travels and is stored: the encoded message `tidegate.v1.Payload`. No service
/// looks inside, so it is passed on without a copy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Payload(pub Bytes);
