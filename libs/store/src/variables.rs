use async_trait::async_trait;
use tidegate_model::{Namespace, Timestamp, VariableName, VariableRevision};

use crate::StoreError;

/// Which variable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VariableKey {
    /// The tenant.
    pub namespace: Namespace,
    /// Its name.
    pub name: VariableName,
}

/// A named value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Which.
    pub key: VariableKey,
    /// Its value, as the JSON text that was given.
    pub value: String,
    /// What people find it by.
    pub tags: Vec<String>,
    /// What it is for.
    pub description: String,
    /// New with every change.
    pub revision: VariableRevision,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// A page of variables, by name.
#[derive(Clone, Debug)]
pub struct VariableQuery {
    /// The tenant.
    pub namespace: Namespace,
    /// Only those whose names begin with this.
    pub name_prefix: String,
    /// Only those with this tag.
    pub tag: Option<String>,
    /// Only those whose names come after this.
    pub after: Option<VariableName>,
    /// How many at most.
    pub limit: usize,
}

/// Reads of variables.
///
/// All methods fail with [`StoreError::Unavailable`] where the store does not answer.
#[async_trait]
pub trait VariableRows: Send + Sync {
    /// Those of these variables that are there, by name.
    async fn get_variables(
        &self,
        namespace: &Namespace,
        names: &[VariableName],
    ) -> Result<Vec<Variable>, StoreError>;

    /// A page of variables.
    async fn list_variables(&self, query: &VariableQuery) -> Result<Vec<Variable>, StoreError>;
}

/// What a transaction does to variables.
#[async_trait]
pub trait VariableTx: Send {
    /// Locks a variable for a change, and reads it.
    async fn lock_variable(&mut self, key: &VariableKey) -> Result<Option<Variable>, StoreError>;

    /// How many variables a namespace has, counted up to `limit`.
    async fn count_variables(&mut self, namespace: &Namespace, limit: u64) -> Result<u64, StoreError>;

    /// Makes a variable. False: somebody else has made it meanwhile.
    async fn insert_variable(&mut self, variable: &Variable) -> Result<bool, StoreError>;

    /// Writes a locked variable, but for when it was made.
    async fn update_variable(&mut self, variable: &Variable) -> Result<(), StoreError>;

    /// Takes a locked variable away.
    async fn delete_variable(&mut self, key: &VariableKey) -> Result<(), StoreError>;
}
