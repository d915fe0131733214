use redis::Script;

/// How much one step of priority weighs in a rank: more than any due time in ms until the year 2109. The
/// largest rank is below 2^50, so it is exact in the double that a score is.
pub(crate) const RANK_OF_PRIORITY: i64 = 1 << 42;

/// The moves; each file tells its keys, arguments and answer.
pub(crate) struct Scripts {
    pub(crate) place: Script,
    pub(crate) take: Script,
    pub(crate) forget: Script,
    pub(crate) lease: Script,
    pub(crate) renew: Script,
    pub(crate) release: Script,
    pub(crate) expired: Script,
    pub(crate) generation: Script,
}

impl Scripts {
    pub(crate) fn new() -> Self {
        Self {
            place: Script::new(include_str!("scripts/place.lua")),
            take: Script::new(include_str!("scripts/take.lua")),
            forget: Script::new(include_str!("scripts/forget.lua")),
            lease: Script::new(include_str!("scripts/lease.lua")),
            renew: Script::new(include_str!("scripts/renew.lua")),
            release: Script::new(include_str!("scripts/release.lua")),
            expired: Script::new(include_str!("scripts/expired.lua")),
            generation: Script::new(include_str!("scripts/generation.lua")),
        }
    }
}
