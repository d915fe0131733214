//! Who comes first to a limit: what is kept for those in line, and that it is never kept for long.

use proptest::prelude::*;
use tidegate_orchestration::Line;

fn lines() -> impl Strategy<Value = Line> {
    (0_u64..20, 0_u64..20, 0_u64..20).prop_map(|(n_waiting, n_reserved, n_lapsed)| Line {
        n_waiting,
        n_reserved,
        n_lapsed,
    })
}

proptest! {
    #[test]
    fn no_more_is_kept_than_is_free_or_for_those_in_line(line in lines(), n_free in 0_u64..30) {
        let n_kept = line.n_kept(n_free);
        prop_assert!(n_kept <= n_free && n_kept <= line.n_waiting + line.n_reserved);
        prop_assert_eq!(line.lets_through(n_free), n_free > n_kept);
        prop_assert!(!line.lets_through(0), "there is nothing to take");
    }

    #[test]
    fn a_new_one_takes_nothing_of_those_in_line_while_all_come(line in lines(), n_free in 0_u64..30) {
        let line = Line { n_lapsed: 0, ..line };
        let mut n_left = n_free;
        while line.lets_through(n_left) {
            n_left -= 1;
        }
        prop_assert_eq!(n_left, n_free.min(line.n_waiting + line.n_reserved));
    }

    #[test]
    fn those_that_do_not_come_hold_up_nobody_for_good(line in lines(), n_free in 1_u64..30) {
        // As many came not as there are slots: all of them are let through.
        let line = Line { n_lapsed: n_free, ..line };
        prop_assert_eq!(line.n_kept(n_free), 0);
        // The more came not, the less is kept.
        let more = Line { n_lapsed: line.n_lapsed + 1, ..line };
        prop_assert!(more.n_kept(n_free) <= line.n_kept(n_free));
    }

    #[test]
    fn one_is_let_through_for_each_that_did_not_come(line in lines(), n_free in 0_u64..30) {
        let (mut left, mut n_left, mut n_passed) = (line, n_free, 0);
        while left.lets_through(n_left) {
            n_passed += u64::from(left.pass(n_left));
            n_left -= 1;
        }
        let n_in_line = line.n_waiting + line.n_reserved;
        prop_assert!(n_passed <= line.n_lapsed && left.n_lapsed == line.n_lapsed - n_passed);
        prop_assert_eq!(n_left, n_free.min(n_in_line).saturating_sub(line.n_lapsed));
    }

    #[test]
    fn nobody_in_line_keeps_nothing(n_lapsed in 0_u64..20, n_free in 1_u64..30) {
        let line = Line { n_lapsed, ..Line::default() };
        prop_assert!(line.is_empty() && line.lets_through(n_free));
    }

    #[test]
    fn who_joins_and_leaves_is_counted_once(line in lines()) {
        let mut joined = line;
        joined.join();
        prop_assert_eq!(joined.n_waiting + joined.n_reserved, line.n_waiting + line.n_reserved + 1);
        joined.leave();
        prop_assert_eq!(joined.n_waiting + joined.n_reserved, line.n_waiting + line.n_reserved);
    }
}

/// A steady stream of new ones against one that waits: each slot that comes free is kept until it has its own, in
/// whichever order claims and hand-outs come.
#[test]
fn who_waits_has_the_next_slot_before_any_new_one() {
    let mut line = Line::default();
    line.join();
    for is_handed_out in [false, true] {
        if is_handed_out {
            line = Line { n_waiting: 0, n_reserved: 1, n_lapsed: 0 };
        }
        assert!((0..100).all(|_| !line.lets_through(1)), "{line:?}");
        assert!(line.lets_through(2), "what is not kept is for whoever comes");
    }
    line.leave();
    assert!(line.is_empty() && line.lets_through(1));
}
