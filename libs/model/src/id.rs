use std::{fmt, str::FromStr};

use uuid::Uuid;

use crate::Timestamp;

/// A text that is not a UUIDv7.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a UUIDv7 such as 0190b6a4-7d3c-7e1f-8a2b-3c4d5e6f7a8b")]
pub struct InvalidId {
    text: String,
}

macro_rules! uuid_v7 {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// A new id, ordered by the machine's time and unique.
            #[expect(clippy::new_without_default, reason = "a default would hide that each is new")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }

            /// From a UUID that is known to be a UUIDv7, such as one read from the store.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID.
            pub const fn as_uuid(&self) -> Uuid {
                self.0
            }

            /// The time in the id, to the millisecond.
            pub fn created_at(&self) -> Timestamp {
                let (seconds, nanos) = self.0.get_timestamp().map_or((0, 0), |time| time.to_unix());
                let micros = seconds.saturating_mul(1_000_000).saturating_add(u64::from(nanos / 1_000));
                Timestamp::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let shown = || InvalidId { text: text.chars().take(80).collect() };
                let uuid = Uuid::try_parse(text).map_err(|_| shown())?;
                if uuid.get_version_num() == 7 { Ok(Self(uuid)) } else { Err(shown()) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

uuid_v7! {
    /// Names a run.
    RunId
}
impl RunId {
    /// The id of the same time for the `n`-th thing that a request with this id makes: equal for equal `n`, and another one for
    /// each other `n`.
    #[must_use]
    pub fn of_part(&self, n: u64) -> Self {
        /// All that is random behind the variant.
        const RANDOM: u128 = (1 << 62) - 1;
        // An odd factor maps the numbers below a power of two onto themselves, so that no two meet.
        let spread = u128::from(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)) & RANDOM;
        Self(Uuid::from_u128(self.0.as_u128() ^ spread))
    }
}
uuid_v7! {
    /// Names the session of an SDK process.
    SessionId
}
uuid_v7! {
    /// Names an object in object storage.
    ObjectId
}

uuid_v7! {
    /// Names something that is done to many runs.
    BulkOperationId
}
uuid_v7! {
    /// Names an artifact.
    ArtifactId
}
uuid_v7! {
    /// Names a schedule from its creation on: one that is made anew under the same name is another.
    ScheduleId
}
uuid_v7! {
    /// Names a variable as one change has left it.
    VariableRevision
}
uuid_v7! {
    /// Names an automation as one change has left it.
    AutomationRevision
}

/// The fencing token of a run: it only grows and is never reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

impl Epoch {
    /// The one after this.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_of_a_request_has_an_id_of_its_own_and_of_its_time() {
        let request = RunId::new();
        let parts: std::collections::BTreeSet<_> = (1_767_225_600_000_000..1_767_225_610_000_000)
            .step_by(1_000)
            .map(|n| request.of_part(n))
            .collect();
        assert_eq!(parts.len(), 10_000);
        for part in parts {
            assert_eq!(part.to_string().parse(), Ok(part), "is a UUIDv7");
            assert_eq!(part.created_at(), request.created_at());
        }
        assert_eq!(request.of_part(7), request.of_part(7));
    }

    #[test]
    fn an_id_survives_its_text() {
        let id = RunId::new();
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn other_versions_and_other_texts_are_refused() {
        for text in ["", "x", "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "550e8400-e29b-41d4-a716-446655440000"]
        {
            assert!(text.parse::<RunId>().is_err(), "{text}");
        }
    }
}
