//! Page and resume tokens: positions as text. Opaque to callers; the first letter tells the form.

use tidegate_model::Timestamp;
use tidegate_store::log::{LogPosition, PageKey};

pub(crate) fn write_page(key: PageKey) -> String {
    format!("p{}.{}.{}", key.logged_at.as_micros(), key.position.group, key.position.ordinal)
}

/// `None`: not given out by us.
pub(crate) fn read_page(token: &str) -> Option<PageKey> {
    let mut parts = token.strip_prefix('p')?.split('.');
    let logged_at = Timestamp::from_micros(parts.next()?.parse().ok()?);
    let position = LogPosition { group: parts.next()?.parse().ok()?, ordinal: parts.next()?.parse().ok()? };
    parts.next().is_none().then_some(PageKey { logged_at, position })
}

pub(crate) fn write_resume(position: LogPosition) -> String {
    format!("t{}.{}", position.group, position.ordinal)
}

/// `None`: not given out by us.
pub(crate) fn read_resume(token: &str) -> Option<LogPosition> {
    let (group, ordinal) = token.strip_prefix('t')?.split_once('.')?;
    Some(LogPosition { group: group.parse().ok()?, ordinal: ordinal.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_and_other_texts_are_refused() {
        let position = LogPosition { group: 17, ordinal: 3 };
        let key = PageKey { logged_at: Timestamp::from_micros(-5), position };
        assert_eq!(read_page(&write_page(key)), Some(key));
        assert_eq!(read_resume(&write_resume(position)), Some(position));
        for text in ["", "p", "p1", "p1.2", "p1.2.3.4", "t1.2", "x1.2.3"] {
            assert_eq!(read_page(text), None, "{text}");
        }
        for text in ["", "t", "t1", "t1.2.3", "t-1.0", "p1.2.3"] {
            assert_eq!(read_resume(text), None, "{text}");
        }
    }
}
