use redis::Script;

/// How much one step of priority weighs in a rank (`STEP` of the scripts): more than any due time in ms until the year
/// 2109. The largest rank is below 2^50, so it is exact in the double that a score is.
pub(crate) const RANK_OF_PRIORITY: i64 = 1 << 42;

/// A script of these files that runs also where Redis has no memory left: otherwise the backlog that has filled it could not
/// be taken out any more. What it adds is bounded by what workers hold, not by the backlog. Flags need Redis 7.0.
macro_rules! even_when_full {
    ($($path:literal),+) => {
        Script::new(concat!("#!lua flags=allow-oom\n", $(include_str!($path)),+))
    };
}

/// One command on one key, also where Redis has no memory left: `EVAL EVEN_WHEN_FULL 1 key command argument…`. It is sent whole
/// by EVAL, so nobody has to load it.
pub(crate) const EVEN_WHEN_FULL: &str =
    "#!lua flags=allow-oom\nreturn redis.call(ARGV[1], KEYS[1], unpack(ARGV, 2))";

/// The moves; each file tells its keys, arguments and answer.
pub(crate) struct Scripts {
    /// The one that makes the backlog longer: a full Redis refuses it.
    pub(crate) place: Script,
    /// The same for entries that were taken.
    pub(crate) put_back: Script,
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
            place: Script::new(concat!(
                include_str!("scripts/common.lua"),
                include_str!("scripts/place.lua")
            )),
            put_back: even_when_full!("scripts/common.lua", "scripts/place.lua"),
            take: even_when_full!("scripts/common.lua", "scripts/take.lua"),
            forget: even_when_full!("scripts/common.lua", "scripts/forget.lua"),
            // It only reads.
            lanes: Script::new(include_str!("scripts/lanes.lua")),
            lease: even_when_full!("scripts/lease.lua"),
            renew: even_when_full!("scripts/renew.lua"),
            release: even_when_full!("scripts/release.lua"),
            expired: even_when_full!("scripts/expired.lua"),
            generation: even_when_full!("scripts/generation.lua"),
            tell_workers: even_when_full!("scripts/tell_workers.lua"),
            drain_worker: even_when_full!("scripts/drain_worker.lua"),
        }
    }
}
