use tidegate_model::limits;
use tidegate_store::Filter;

use crate::{
    Error,
    token::{Token, tokens},
    typed,
};

/// Parentheses and negations within each other.
const MAX_DEPTH: usize = 20;

/// Parses a filter; empty: every run.
///
/// # Errors
/// What is wrong and at which column; too long, too deep.
pub fn parse(text: &str) -> Result<Filter, Error> {
    if text.len() > limits::MAX_FILTER_SIZE {
        let message = format!("has {} bytes; at most {} are allowed", text.len(), limits::MAX_FILTER_SIZE);
        return Err(Error { column: 1, message });
    }
    let tokens = tokens(text)?;
    let end = text.chars().count() + 1;
    let mut parser = Parser { tokens, next: 0, end, depth: 0 };
    if parser.tokens.is_empty() {
        return Ok(Filter::And(Vec::new()));
    }
    let filter = parser.expression()?;
    match parser.peek() {
        None => Ok(filter),
        Some(_) => Err(parser.error("this is not understood here; is a parenthesis missing?")),
    }
}

struct Parser {
    tokens: Vec<(usize, Token)>,
    next: usize,
    end: usize,
    depth: usize,
}

impl Parser {
    /// `factor (AND? factor)*`
    fn expression(&mut self) -> Result<Filter, Error> {
        let mut factors = vec![self.factor()?];
        loop {
            let is_and = self.take_word("AND");
            let is_end = matches!(self.peek(), None | Some(Token::Close));
            if is_end && !is_and {
                return Ok(joined(factors, Filter::And));
            }
            factors.push(self.factor()?);
        }
    }

    /// `term (OR term)*`
    fn factor(&mut self) -> Result<Filter, Error> {
        let mut terms = vec![self.term()?];
        while self.take_word("OR") {
            terms.push(self.term()?);
        }
        Ok(joined(terms, Filter::Or))
    }

    /// `(NOT | -)? (comparison | "(" expression ")")`
    fn term(&mut self) -> Result<Filter, Error> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(
                self.error(&format!("more than {MAX_DEPTH} parentheses and negations are nested here"))
            );
        }
        let is_minus = matches!(self.peek(), Some(Token::Minus));
        let filter = if is_minus || self.is_word("NOT") {
            self.next += 1;
            Filter::Not(Box::new(self.term()?))
        } else if matches!(self.peek(), Some(Token::Open)) {
            self.next += 1;
            let inner = self.expression()?;
            if !matches!(self.peek(), Some(Token::Close)) {
                return Err(self.error("a `)` is missing here"));
            }
            self.next += 1;
            inner
        } else {
            self.comparison()?
        };
        self.depth -= 1;
        Ok(filter)
    }

    fn comparison(&mut self) -> Result<Filter, Error> {
        let Some(Token::Word(name)) = self.peek().cloned() else {
            return Err(self.error("a comparison such as `state = RUNNING` is missing here"));
        };
        let (field, field_type) = typed::field(&name).map_err(|message| self.error(&message))?;
        self.next += 1;
        let Some(Token::Operator(operator)) = self.peek().cloned() else {
            return Err(self.error(&format!("one of = != < <= > >= : is missing after `{name}`")));
        };
        let at_operator = self.next;
        self.next += 1;
        let Some(Token::Word(value) | Token::Quoted(value)) = self.peek().cloned() else {
            return Err(self.error(&format!("a value is missing after `{name} {operator}`")));
        };
        let filter = typed::compare(field, field_type, operator, &value).map_err(|fault| match fault {
            typed::Fault::Operator(message) => self.error_at(at_operator, &message),
            typed::Fault::Value(message) => self.error_at(self.next, &message),
        })?;
        self.next += 1;
        Ok(filter)
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|(_, token)| token)
    }

    fn is_word(&self, keyword: &str) -> bool {
        matches!(self.peek(), Some(Token::Word(word)) if word == keyword)
    }

    fn take_word(&mut self, keyword: &str) -> bool {
        let is_it = self.is_word(keyword);
        self.next += usize::from(is_it);
        is_it
    }

    fn error(&self, message: &str) -> Error {
        self.error_at(self.next, message)
    }

    fn error_at(&self, token_idx: usize, message: &str) -> Error {
        let column = self.tokens.get(token_idx).map_or(self.end, |(column, _)| *column);
        Error { column, message: message.to_owned() }
    }
}

fn joined(mut filters: Vec<Filter>, join: fn(Vec<Filter>) -> Filter) -> Filter {
    if filters.len() == 1 { filters.remove(0) } else { join(filters) }
}

#[cfg(test)]
mod tests {
    use tidegate_model::RunKind;
    use tidegate_orchestration::StateType;
    use tidegate_store::{Comparison, Field, Value};

    use super::*;

    fn state(state: StateType) -> Filter {
        Filter::Compare(Field::State, Comparison::Equal, Value::State(state))
    }

    fn text(field: Field, comparison: Comparison, value: &str) -> Filter {
        Filter::Compare(field, comparison, Value::Text(value.to_owned()))
    }

    #[test]
    fn or_binds_stronger_than_and() {
        let parsed = parse("kind = task AND state = failed OR state = CRASHED").expect("is a filter");
        let kind = Filter::Compare(Field::Kind, Comparison::Equal, Value::Kind(RunKind::Task));
        let ended = Filter::Or(vec![state(StateType::Failed), state(StateType::Crashed)]);
        assert_eq!(parsed, Filter::And(vec![kind, ended]));
    }

    #[test]
    fn comparisons_that_follow_each_other_are_joined_by_and() {
        let parsed = parse("state=RUNNING tags:nightly").expect("is a filter");
        let tag = text(Field::Tags, Comparison::Has, "nightly");
        assert_eq!(parsed, Filter::And(vec![state(StateType::Running), tag]));
    }

    #[test]
    fn negations_parentheses_quotes_and_prefixes_are_read() {
        let parsed = parse(r#"NOT (name = "a \"b\"" OR -run_name = 'etl*')"#).expect("is a filter");
        let name = text(Field::Name, Comparison::Equal, "a \"b\"");
        let prefix = Filter::Not(Box::new(text(Field::RunName, Comparison::StartsWith, "etl")));
        assert_eq!(parsed, Filter::Not(Box::new(Filter::Or(vec![name, prefix]))));
    }

    #[test]
    fn an_empty_filter_is_every_run() {
        assert_eq!(parse("  "), Ok(Filter::And(Vec::new())));
    }

    #[test]
    fn errors_point_at_the_mistake() {
        let cases = [
            ("stat = RUNNING", 1, "no field"),
            ("state = RUNING", 9, "no state"),
            ("state > RUNNING", 7, "does not fit"),
            ("state RUNNING", 7, "is missing"),
            ("name =", 7, "a value is missing"),
            ("name = \"a", 8, "not closed"),
            ("(name = a", 10, "`)` is missing"),
            ("name = a)", 9, "not understood"),
            ("name = a AND", 13, "is missing here"),
            ("attempt > many", 11, "whole number"),
            ("created_at > yesterday", 14, "no time"),
            ("parent_run_id = 7", 17, "UUIDv7"),
            ("tags = a", 6, "`:`"),
            ("name:a", 5, "`:`"),
            ("attempt = \"1 does not fit\"", 11, "whole number"),
            ("name = ;", 8, "not understood"),
        ];
        for (filter, column, message) in cases {
            let error = parse(filter).expect_err(filter);
            assert_eq!(error.column, column, "{filter}: {error}");
            assert!(error.message.contains(message), "{filter}: {error}");
        }
    }

    #[test]
    fn depth_and_length_are_bounded() {
        let long = format!("name = {}", "a".repeat(limits::MAX_FILTER_SIZE));
        assert!(parse(&long).expect_err("is too long").message.contains("4103 bytes"));
        let deep = format!("{}name = a{}", "(".repeat(1_000), ")".repeat(1_000));
        assert!(parse(&deep).expect_err("is too deep").message.contains("nested"));
    }
}
