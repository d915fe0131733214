use tidegate_model::limits;
use tidegate_store::{Order, OrderBy};

use crate::Error;

/// Parses an `order_by`: a field, then perhaps `asc` or `desc`. Empty: newest first.
///
/// # Errors
/// What is wrong and at which column.
pub fn parse_order(text: &str) -> Result<Order, Error> {
    if text.len() > limits::MAX_ORDER_SIZE {
        let message = format!("has {} bytes; at most {} are allowed", text.len(), limits::MAX_ORDER_SIZE);
        return Err(Error { column: 1, message });
    }
    let mut words = words(text).into_iter();
    let Some((column, field)) = words.next() else { return Ok(Order::default()) };
    let by = OrderBy::ALL.iter().find(|by| by.as_str() == field).ok_or_else(|| {
        let known: Vec<_> = OrderBy::ALL.iter().map(|by| by.as_str()).collect();
        let message = format!("`{field}` is nothing to order runs by; there are {}", known.join(", "));
        Error { column, message }
    })?;
    let mut next = words.next();
    let descending = next.as_ref().is_some_and(|(_, word)| word == "desc");
    if descending || next.as_ref().is_some_and(|(_, word)| word == "asc") {
        next = words.next();
    }
    match next {
        None => Ok(Order { by: *by, descending }),
        Some((column, word)) if word == "," => {
            let message = "runs are ordered by one field, and then by id: leave the rest away".to_owned();
            Err(Error { column, message })
        }
        Some((column, word)) => {
            let message = format!("`{word}` is not understood here: `{field} asc` or `{field} desc`");
            Err(Error { column, message })
        }
    }
}

/// The words and commas with their columns, counted in characters from 1.
fn words(text: &str) -> Vec<(usize, String)> {
    let mut words: Vec<(usize, String)> = Vec::new();
    let mut is_in_word = false;
    for (idx, character) in text.chars().enumerate() {
        let is_part = !character.is_whitespace() && character != ',';
        match words.last_mut() {
            Some((_, word)) if is_part && is_in_word => word.push(character),
            _ if !character.is_whitespace() => words.push((idx + 1, character.to_string())),
            _ => {}
        }
        is_in_word = is_part;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_ordered_upwards_unless_it_says_otherwise() {
        let cases = [
            ("", OrderBy::Id, true),
            ("  ", OrderBy::Id, true),
            ("id", OrderBy::Id, false),
            ("started_at desc", OrderBy::StartedAt, true),
            (" due_at   asc ", OrderBy::DueAt, false),
            ("priority", OrderBy::Priority, false),
        ];
        for (text, by, descending) in cases {
            assert_eq!(parse_order(text), Ok(Order { by, descending }), "{text}");
        }
    }

    #[test]
    fn errors_point_at_the_mistake() {
        let cases = [
            ("  start", 3, "there are id, created_at"),
            ("name up", 6, "not understood"),
            ("name desc desc", 11, "not understood"),
            ("name, id", 5, "one field"),
            ("state desc, name", 1, "nothing to order"),
            (", name", 1, "nothing to order"),
        ];
        for (text, column, message) in cases {
            let error = parse_order(text).expect_err(text);
            assert_eq!(error.column, column, "{text}: {error}");
            assert!(error.message.contains(message), "{text}: {error}");
        }
        let long = parse_order(&"x".repeat(limits::MAX_ORDER_SIZE + 1)).expect_err("is too long");
        assert!(long.message.contains("257 bytes"), "{long}");
    }
}
