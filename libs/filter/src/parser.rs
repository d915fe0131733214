use tidegate_model::{Timestamp, limits};
use tidegate_store::Filter;

use crate::{
    Error,
    token::{Literal, Token, tokens},
    typed::{Fault, Of, Typed},
};

/// What a filter is asked of: which fields there are, and what comparing one gives.
pub(super) trait Dialect {
    /// What is compared.
    type Subject: Clone;
    /// What is made of it all.
    type Filter;

    /// What has this name, or a sentence that says what there is.
    fn subject(&self, name: &str) -> Result<Self::Subject, String>;
    /// A comparison whose operator and value fit the subject.
    fn compare(
        &self,
        subject: &Self::Subject,
        operator: &'static str,
        literal: &Literal,
    ) -> Result<Self::Filter, Fault>;
    /// All of these; of none: everything.
    fn all(filters: Vec<Self::Filter>) -> Self::Filter;
    /// One of these.
    fn any(filters: Vec<Self::Filter>) -> Self::Filter;
    /// Not this.
    fn not(filter: Self::Filter) -> Self::Filter;
}

/// Parses a filter; empty: every run. `now` is what times such as `-1h` count from.
///
/// # Errors
/// What is wrong and at which column; too long, too deep, too many comparisons.
pub fn parse(text: &str, now: Timestamp) -> Result<Filter, Error> {
    parse_by(Typed { of: Of::Runs, now }, text)
}

/// The same for deployments: asked of what their runs have, and of when they were created.
///
/// # Errors
/// As those of `parse`.
pub fn parse_deployments(text: &str, now: Timestamp) -> Result<Filter, Error> {
    parse_by(Typed { of: Of::Deployments, now }, text)
}

pub(super) fn parse_by<D: Dialect>(dialect: D, text: &str) -> Result<D::Filter, Error> {
    if text.len() > limits::MAX_FILTER_SIZE {
        let message = format!("has {} bytes; at most {} are allowed", text.len(), limits::MAX_FILTER_SIZE);
        return Err(Error { column: 1, message });
    }
    let tokens = tokens(text)?;
    let end = text.chars().count() + 1;
    let mut parser = Parser { dialect, tokens, next: 0, end, depth: 0, n_comparisons: 0, values_of: None };
    if parser.tokens.is_empty() {
        return Ok(D::all(Vec::new()));
    }
    let filter = parser.expression()?;
    match parser.peek() {
        None => Ok(filter),
        Some(_) => Err(parser.error("this is not understood here; is a parenthesis missing?")),
    }
}

struct Parser<D: Dialect> {
    dialect: D,
    tokens: Vec<(usize, Token)>,
    next: usize,
    end: usize,
    depth: usize,
    n_comparisons: usize,
    /// Within the parentheses of `state = (RUNNING OR PENDING)`: what the values there are compared with, and where its
    /// operator is.
    values_of: Option<(D::Subject, &'static str, usize)>,
}

impl<D: Dialect> Parser<D> {
    /// `factor (AND? factor)*`
    fn expression(&mut self) -> Result<D::Filter, Error> {
        let mut factors = vec![self.factor()?];
        loop {
            let is_and = self.take_word("AND");
            let is_end = matches!(self.peek(), None | Some(Token::Close));
            if is_end && !is_and {
                return Ok(joined(factors, D::all));
            }
            factors.push(self.factor()?);
        }
    }

    /// `term (OR term)*`
    fn factor(&mut self) -> Result<D::Filter, Error> {
        let mut terms = vec![self.term()?];
        while self.take_word("OR") {
            terms.push(self.term()?);
        }
        Ok(joined(terms, D::any))
    }

    /// `(NOT | -)? (comparison | "(" expression ")")`
    fn term(&mut self) -> Result<D::Filter, Error> {
        self.descend()?;
        let is_minus = matches!(self.peek(), Some(Token::Minus));
        let filter = if is_minus || self.is_word("NOT") {
            self.next += 1;
            D::not(self.term()?)
        } else if matches!(self.peek(), Some(Token::Open)) {
            self.in_parentheses()?
        } else if let Some((subject, operator, at_operator)) = self.values_of.clone() {
            self.value(&subject, operator, at_operator)?
        } else {
            self.comparison()?
        };
        self.depth -= 1;
        Ok(filter)
    }

    fn descend(&mut self) -> Result<(), Error> {
        self.depth += 1;
        if self.depth > limits::MAX_FILTER_DEPTH {
            let most = limits::MAX_FILTER_DEPTH;
            return Err(self.error(&format!("more than {most} parentheses and negations are nested here")));
        }
        Ok(())
    }

    fn in_parentheses(&mut self) -> Result<D::Filter, Error> {
        self.next += 1;
        let inner = self.expression()?;
        if !matches!(self.peek(), Some(Token::Close)) {
            return Err(self.error("a `)` is missing here"));
        }
        self.next += 1;
        Ok(inner)
    }

    /// `field operator (value | "(" values ")")`
    fn comparison(&mut self) -> Result<D::Filter, Error> {
        let Some(Token::Word(name)) = self.peek().cloned() else {
            return Err(self.error("a comparison such as `state = RUNNING` is missing here"));
        };
        let subject = self.dialect.subject(&name).map_err(|message| self.error(&message))?;
        self.next += 1;
        let Some(Token::Operator(operator)) = self.peek().cloned() else {
            return Err(self.error(&format!("one of = != < <= > >= : is missing after `{name}`")));
        };
        let at_operator = self.next;
        self.next += 1;
        if !matches!(self.peek(), Some(Token::Open)) {
            return self.value(&subject, operator, at_operator);
        }
        if !matches!(operator, "=" | ":") {
            let message = format!(
                "values in parentheses go with `=` and `:` only; for none of them: `NOT {name} = (…)`"
            );
            return Err(self.error_at(at_operator, &message));
        }
        self.descend()?;
        self.values_of = Some((subject, operator, at_operator));
        let filter = self.in_parentheses()?;
        self.values_of = None;
        self.depth -= 1;
        Ok(filter)
    }

    /// The value of a comparison, or one of those in parentheses.
    fn value(
        &mut self,
        subject: &D::Subject,
        operator: &'static str,
        at_operator: usize,
    ) -> Result<D::Filter, Error> {
        let literal = match self.peek() {
            Some(Token::Word(word)) => Literal::of_word(word),
            Some(Token::Quoted(literal)) => literal.clone(),
            _ => return Err(self.error(&format!("a value is missing after `{operator}`"))),
        };
        self.n_comparisons += 1;
        if self.n_comparisons > limits::MAX_FILTER_COMPARISONS {
            let most = limits::MAX_FILTER_COMPARISONS;
            return Err(self.error(&format!("this is comparison {}; at most {most} are allowed", most + 1)));
        }
        let filter = self.dialect.compare(subject, operator, &literal).map_err(|fault| match fault {
            Fault::Operator(message) => self.error_at(at_operator, &message),
            Fault::Value(message) => self.error(&message),
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

fn joined<F>(mut filters: Vec<F>, join: fn(Vec<F>) -> F) -> F {
    if filters.len() == 1 { filters.remove(0) } else { join(filters) }
}

#[cfg(test)]
mod tests {
    use tidegate_model::RunKind;
    use tidegate_orchestration::StateType;
    use tidegate_store::{Comparison, Field, Value};

    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);

    fn parse(text: &str) -> Result<Filter, Error> {
        super::parse(text, NOW)
    }

    fn state(state: StateType) -> Filter {
        Filter::Compare(Field::State, Comparison::Equal, Value::State(state))
    }

    fn kind(kind: RunKind) -> Filter {
        Filter::Compare(Field::Kind, Comparison::Equal, Value::Kind(kind))
    }

    fn text(field: Field, comparison: Comparison, value: &str) -> Filter {
        Filter::Compare(field, comparison, Value::Text(value.to_owned()))
    }

    fn label(comparison: Comparison, key: &str, text: &str) -> Filter {
        let value = Value::Label { key: key.to_owned(), text: text.to_owned() };
        Filter::Compare(Field::Labels, comparison, value)
    }

    fn not(filter: Filter) -> Filter {
        Filter::Not(Box::new(filter))
    }

    #[test]
    fn or_binds_stronger_than_and() {
        let parsed = parse("kind = task AND state = failed OR state = CRASHED").expect("is a filter");
        let ended = Filter::Or(vec![state(StateType::Failed), state(StateType::Crashed)]);
        assert_eq!(parsed, Filter::And(vec![kind(RunKind::Task), ended]));
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
        let prefix = not(text(Field::RunName, Comparison::StartsWith, "etl"));
        assert_eq!(parsed, not(Filter::Or(vec![name, prefix])));
    }

    #[test]
    fn an_empty_filter_is_every_run() {
        assert_eq!(parse("  "), Ok(Filter::And(Vec::new())));
    }

    #[test]
    fn values_in_parentheses_are_each_compared() {
        let either = Filter::Or(vec![state(StateType::Running), state(StateType::Pending)]);
        assert_eq!(parse("state = (RUNNING OR PENDING)"), Ok(either.clone()));
        assert_eq!(parse("NOT state = (RUNNING OR PENDING)"), Ok(not(either)));
        let [a, b, c] = ["a", "b", "c"].map(|tag| text(Field::Tags, Comparison::Has, tag));
        let tags = Filter::And(vec![a, Filter::Or(vec![b, not(c)])]);
        assert_eq!(parse("tags:(a AND (b OR NOT c))"), Ok(tags.clone()));
        // What follows is a comparison again.
        assert_eq!(parse("tags:(a (b OR -c)) kind = flow"), Ok(Filter::And(vec![tags, kind(RunKind::Flow)])));
    }

    #[test]
    fn stars_at_the_ends_stand_for_any_text() {
        for (value, comparison, part) in [
            ("etl*", Comparison::StartsWith, "etl"),
            ("*etl", Comparison::EndsWith, "etl"),
            ("*etl*", Comparison::Contains, "etl"),
            ("*", Comparison::StartsWith, ""),
            (r#""\*etl\*""#, Comparison::Equal, "*etl*"),
            (r#""\*etl*""#, Comparison::StartsWith, "*etl"),
        ] {
            assert_eq!(parse(&format!("name = {value}")), Ok(text(Field::Name, comparison, part)), "{value}");
        }
    }

    #[test]
    fn labels_are_asked_by_key_and_value() {
        let has = text(Field::Labels, Comparison::Has, "team.eu/x-1");
        assert_eq!(parse("labels.team.eu/x-1:*"), Ok(has.clone()));
        assert_eq!(parse("labels:team.eu/x-1"), Ok(has));
        assert_eq!(parse("labels.team = ml"), Ok(label(Comparison::Equal, "team", "ml")));
        assert_eq!(parse("labels.team:ml"), Ok(label(Comparison::Equal, "team", "ml")));
        assert_eq!(parse("labels.team != \"\""), Ok(label(Comparison::NotEqual, "team", "")));
        assert_eq!(parse("labels.team = ml*"), Ok(label(Comparison::StartsWith, "team", "ml")));
        assert_eq!(parse("labels:*"), Ok(Filter::IsSet(Field::Labels)));
    }

    #[test]
    fn flow_and_task_are_names_of_their_kind() {
        let etl = || Filter::And(vec![kind(RunKind::Flow), text(Field::Name, Comparison::Equal, "etl")]);
        assert_eq!(parse("flow = etl"), Ok(etl()));
        assert_eq!(parse("flow != etl"), Ok(not(etl())));
        assert_eq!(parse("task:*"), Ok(kind(RunKind::Task)));
    }

    #[test]
    fn a_star_after_a_colon_asks_whether_a_field_is_set() {
        assert_eq!(parse("started_at:*"), Ok(Filter::IsSet(Field::StartedAt)));
        assert_eq!(parse("-parent_run_id:*"), Ok(not(Filter::IsSet(Field::Parent))));
        assert_eq!(parse("tags:*"), Ok(Filter::IsSet(Field::Tags)));
    }

    #[test]
    fn times_may_count_from_now_and_need_no_quotes() {
        let due = |micros| {
            let time = Value::Time(Timestamp::from_micros(micros));
            Ok(Filter::Compare(Field::DueAt, Comparison::Less, time))
        };
        assert_eq!(parse("due_at < now"), due(1_790_000_000_000_000));
        assert_eq!(parse("due_at < -1h"), due(1_789_996_400_000_000));
        assert_eq!(parse("due_at < \"+1h\""), due(1_790_003_600_000_000));
        assert_eq!(parse("due_at < 1970-01-01T00:01:30Z"), due(90_000_000));
        assert_eq!(parse("due_at < 1970-01-01T01:00:00+01:00"), due(0));
    }

    #[test]
    fn every_field_is_read() {
        let id = "0190b6a4-7d3c-7e1f-8a2b-3c4d5e6f7a8b";
        for comparison in [
            format!("id = {id}"),
            format!("session_id = {id}"),
            format!("root_run_id = {id}"),
            "holder = \"worker:host-1:4711\"".to_owned(),
            "deployment = etl/nightly".to_owned(),
            "schedule = nightly".to_owned(),
            "fire_at < now".to_owned(),
            "cache_key = *".to_owned(),
            "fairness_key = customer-7".to_owned(),
            "depth >= 1".to_owned(),
            "crashes != 0".to_owned(),
            "retries < 3".to_owned(),
            "priority > -5".to_owned(),
            "expires_at <= now".to_owned(),
            "ended_at > -1d".to_owned(),
            "state_name = Late".to_owned(),
        ] {
            parse(&comparison).expect(&comparison);
        }
    }

    #[test]
    fn errors_point_at_the_mistake() {
        let cases = [
            ("stat = RUNNING", 1, "no field"),
            ("labels. = x", 1, "labels.KEY"),
            ("state = RUNING", 9, "no state"),
            ("state = (RUNNING OR RUNING)", 21, "no state"),
            ("state > RUNNING", 7, "does not fit"),
            ("state != (RUNNING OR FAILED)", 7, "NOT state = (…)"),
            ("state = (RUNNING OR FAILED", 27, "`)` is missing"),
            ("state = ()", 10, "a value is missing"),
            ("state = (state = RUNNING)", 10, "no state"),
            ("state RUNNING", 7, "is missing"),
            ("name =", 7, "a value is missing"),
            ("name = \"a", 8, "not closed"),
            ("(name = a", 10, "`)` is missing"),
            ("name = a)", 9, "not understood"),
            ("name = a AND", 13, "is missing here"),
            ("name = a*b", 8, "beginning and the end"),
            ("name > a*", 6, "`*` goes with"),
            ("attempt > many", 11, "whole number"),
            ("created_at > yesterday", 14, "no time"),
            ("created_at > -1x", 14, "-1h"),
            ("parent_run_id = 7", 17, "UUIDv7"),
            ("tags = a", 6, "`:`"),
            ("tags:a*", 6, "as a whole"),
            ("labels = a", 8, "labels.KEY"),
            ("name:a", 5, "`:`"),
            ("flow:a", 5, "flow ="),
            ("attempt = \"1 does not fit\"", 11, "whole number"),
            ("name = ;", 8, "not understood"),
            ("name = \"\0\"", 8, "NUL"),
        ];
        for (filter, column, message) in cases {
            let error = parse(filter).expect_err(filter);
            assert_eq!(error.column, column, "{filter}: {error}");
            assert!(error.message.contains(message), "{filter}: {error}");
        }
    }

    #[test]
    fn depth_length_and_comparisons_are_bounded() {
        let long = format!("name = {}", "a".repeat(limits::MAX_FILTER_SIZE));
        assert!(parse(&long).expect_err("is too long").message.contains("4103 bytes"));
        let nested = |n: usize| format!("{}name = a{}", "(".repeat(n), ")".repeat(n));
        parse(&nested(limits::MAX_FILTER_DEPTH - 1)).expect("is within the bound");
        let deep = parse(&nested(limits::MAX_FILTER_DEPTH)).expect_err("is too deep");
        assert!(deep.message.contains("more than 20"), "{deep}");
        assert_eq!(deep.column, limits::MAX_FILTER_DEPTH + 1);
        let values = |n: usize| format!("depth = ({})", vec!["1"; n].join(" OR "));
        parse(&values(limits::MAX_FILTER_COMPARISONS)).expect("is within the bound");
        let many = parse(&values(limits::MAX_FILTER_COMPARISONS + 1)).expect_err("are too many");
        assert!(many.message.contains("comparison 201; at most 200"), "{many}");
    }
}
