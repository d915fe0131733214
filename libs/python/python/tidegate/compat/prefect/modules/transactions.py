"""`prefect.transactions`."""

from .._transactions import CommitMode, Transaction, TransactionState, atransaction, get_transaction, transaction

__all__ = ["CommitMode", "Transaction", "TransactionState", "atransaction", "get_transaction", "transaction"]
