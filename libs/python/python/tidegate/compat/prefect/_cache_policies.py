"""Cache policies, with those of Prefect's that Tidegate has no need of itself."""

from __future__ import annotations

from typing import Any, Optional

from ... import _hashing, cache_policies
from ...cache_policies import CacheContext
from ._options import CacheKeyContext


class CacheKeyFnPolicy(cache_policies.CacheKeyFnPolicy):
    """The key is what a function makes of a context and the arguments."""

    def compute_key(
        self, task_ctx: CacheContext, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> Optional[str]:
        """See :class:`CachePolicy`."""
        make: Any = self.cache_key_fn
        key: Optional[str] = make(CacheKeyContext(task_ctx.task, inputs), inputs)
        return key


class _FlowParameters(cache_policies.CachePolicy):
    def compute_key(
        self, task_ctx: CacheContext, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> Optional[str]:
        return _hashing.of_inputs(flow_parameters, task_ctx.task.name)


#: Calls by runs with equal arguments are the same.
FLOW_PARAMETERS = _FlowParameters()
