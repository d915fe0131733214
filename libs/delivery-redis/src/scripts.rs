use redis::Script;

/// How much one step of priority weighs in a rank (`STEP` of the scripts): more than any due time in ms until the year
/// 2109. The largest rank is below 2^50, so it is exact in the double that a score is.
pub(crate) const RANK_OF_PRIORITY: i64 = 1 << 42;

/// A script that goes on after what scripts of entries have in common.
macro_rules! of_entries {
    ($path:literal) => {
        Script::new(concat!(include_str!("scripts/common.lua"), include_str!($path)))
    };
}

/// The moves; each file tells its keys, arguments and answer.
pub(crate) struct Scripts {
    pub(crate) place: Script,
    pub(crate) take: Script,
    pub(crate) forget: Script,
    pub(crate) lanes: Script,
    pub(crate) lease: Script,
    pub(crate) renew: Script,
    pub(crate) release: Script,
    pub(crate) expired: Script,
    pub(crate) generation: Script,
    pub(crate) tell_workers: Script,
    pub(crate) drain_worker: Script,
}

impl Scripts {
    pub(crate) fn new() -> Self {
        Self {
            place: of_entries!("scripts/place.lua"),
            take: of_entries!("scripts/take.lua"),
            forget: of_entries!("scripts/forget.lua"),
            lanes: Script::new(include_str!("scripts/lanes.lua")),
            lease: Script::new(include_str!("scripts/lease.lua")),
            renew: Script::new(include_str!("scripts/renew.lua")),
            release: Script::new(include_str!("scripts/release.lua")),
            expired: Script::new(include_str!("scripts/expired.lua")),
            generation: Script::new(include_str!("scripts/generation.lua")),
            tell_workers: Script::new(include_str!("scripts/tell_workers.lua")),
            drain_worker: Script::new(include_str!("scripts/drain_worker.lua")),
        }
    }
}
