//! Lists: a filter becomes SQL with bound values. Each comparison is true or false, never NULL, so that NOT and OR
//! mean what they say.

use sqlx::{Postgres, QueryBuilder};
use tidegate_store::{Comparison, Field, Filter, ListQuery, StoreError, Value, adapter};

use crate::queries::RUN_COLUMNS;

type Builder = QueryBuilder<Postgres>;

/// The statement for a page.
pub(crate) fn list_runs(list: &ListQuery) -> Result<Builder, StoreError> {
    let mut sql = Builder::new(RUN_COLUMNS);
    sql.push(" FROM runs WHERE runs.namespace = ").push_bind(list.namespace.as_str().to_owned());
    if let Some(before) = list.before {
        sql.push(" AND runs.id < ").push_bind(before.as_uuid());
    }
    sql.push(" AND ");
    push(&mut sql, &list.filter)?;
    sql.push(" ORDER BY runs.id DESC LIMIT ").push_bind(adapter::limit(list.limit));
    Ok(sql)
}

fn push(sql: &mut Builder, filter: &Filter) -> Result<(), StoreError> {
    match filter {
        Filter::And(parts) => push_joined(sql, parts, "TRUE", " AND "),
        Filter::Or(parts) => push_joined(sql, parts, "FALSE", " OR "),
        Filter::Not(part) => {
            sql.push("NOT ");
            push(sql, part)
        }
        Filter::Compare(field, comparison, value) => push_comparison(sql, *field, *comparison, value),
    }
}

fn push_joined(
    sql: &mut Builder,
    parts: &[Filter],
    empty: &'static str,
    operator: &'static str,
) -> Result<(), StoreError> {
    if parts.is_empty() {
        sql.push(empty);
        return Ok(());
    }
    sql.push("(");
    for (idx, part) in parts.iter().enumerate() {
        if idx > 0 {
            sql.push(operator);
        }
        push(sql, part)?;
    }
    sql.push(")");
    Ok(())
}

fn push_comparison(
    sql: &mut Builder,
    field: Field,
    comparison: Comparison,
    value: &Value,
) -> Result<(), StoreError> {
    let column = adapter::comparable(field, comparison, value)?;
    match comparison {
        Comparison::Has => {
            // As runs_by_tag has it: it leaves out runs without tags.
            sql.push("(runs.tags <> '{}' AND runs.tags @> ARRAY[");
            push_value(sql, value);
            sql.push("]");
        }
        Comparison::StartsWith => {
            // Not LIKE: the value is text, and its % and _ are themselves.
            sql.push(format_args!("({column} IS NOT NULL AND starts_with({column}, "));
            push_value(sql, value);
            sql.push(")");
        }
        Comparison::NotEqual => {
            sql.push(format_args!("({column} IS DISTINCT FROM "));
            push_value(sql, value);
        }
        Comparison::Equal if field == Field::Root => {
            // As runs_by_root has it: it leaves out uppermost runs.
            sql.push("(runs.id = ");
            push_value(sql, value);
            sql.push(" AND runs.parent_id IS NULL OR runs.parent_id IS NOT NULL AND runs.root_id = ");
            push_value(sql, value);
        }
        Comparison::Equal
        | Comparison::Less
        | Comparison::LessOrEqual
        | Comparison::Greater
        | Comparison::GreaterOrEqual => {
            let operator = adapter::operator(comparison);
            sql.push(format_args!("({column} IS NOT NULL AND {column} {operator} "));
            push_value(sql, value);
        }
    }
    sql.push(")");
    Ok(())
}

fn push_value(sql: &mut Builder, value: &Value) {
    match value {
        Value::Text(text) => sql.push_bind(text.clone()),
        Value::Number(number) => sql.push_bind(*number),
        Value::Time(time) => sql.push_bind(time.as_micros()),
        Value::State(state) => sql.push_bind(state.as_str()),
        Value::Kind(kind) => sql.push_bind(kind.as_str()),
        Value::Run(run) => sql.push_bind(run.as_uuid()),
    };
}
