"""A module as libcst reads it: where things are, and what names mean."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from patcher.model import CallsPatch

if TYPE_CHECKING:
    import libcst
    from libcst.metadata import CodeSpan, Scope

Node = TypeVar("Node", bound="libcst.CSTNode")


@dataclass(frozen=True, slots=True, kw_only=True)
class Concrete:
    """A module as libcst reads it."""

    body: bytes
    nodes: dict[type[libcst.CSTNode], list[libcst.CSTNode]]
    spans: dict[libcst.CSTNode, CodeSpan]
    scopes: dict[libcst.CSTNode, Scope | None]

    @classmethod
    def read(cls, body: bytes) -> Concrete:
        """Raises ValueError where libcst does not give `body` back as it is."""
        import libcst
        from libcst.metadata import ByteSpanPositionProvider, MetadataWrapper, ScopeProvider

        nodes: dict[type[libcst.CSTNode], list[libcst.CSTNode]] = defaultdict(list)

        class Collector(libcst.CSTVisitor):
            def on_visit(self, node: libcst.CSTNode) -> bool:
                nodes[type(node)].append(node)
                return True

        try:
            module = libcst.parse_module(body.decode())
        except libcst.ParserSyntaxError as error:
            raise ValueError(error.message) from error
        if module.code.encode() != body:
            raise ValueError("libcst does not give the text back as it is")
        wrapper = MetadataWrapper(module, unsafe_skip_copy=True)
        spans, scopes = wrapper.resolve(ByteSpanPositionProvider), wrapper.resolve(ScopeProvider)
        module.visit(Collector())
        return cls(body=body, nodes=nodes, spans=dict(spans), scopes=dict(scopes))

    def all(self, *kinds: type[Node]) -> Iterator[Node]:
        """Every node of those kinds."""
        for kind in kinds:
            yield from self.nodes.get(kind, [])  # type: ignore[misc]

    def span(self, node: libcst.CSTNode) -> tuple[int, int]:
        """Where a node begins and ends, in bytes, without the parentheses around it."""
        span = self.spans[node]
        return span.start, span.start + span.length

    def strings(self) -> list[tuple[int, int]]:
        """The spans of all string literals."""
        import libcst

        return [self.span(node) for node in self.all(libcst.SimpleString, libcst.FormattedString)]


class Names:
    """What dotted names mean to libcst."""

    def __init__(self, module: Concrete, patch: CallsPatch) -> None:
        import libcst

        self._module, self._callee = module, patch.callee
        self._unsteady = {name_of(node.target) for node in module.all(libcst.NamedExpr)}
        patterns = (libcst.MatchAs, libcst.MatchStar, libcst.TypeVar, libcst.ParamSpec, libcst.TypeVarTuple)
        self._unsteady |= {name_of(name) for node in module.all(*patterns) if (name := getattr(node, "name", None))}
        self._unsteady |= {name_of(node.rest) for node in module.all(libcst.MatchMapping) if node.rest}
        for deletion in module.all(libcst.Del):
            target = deletion.target
            every = [one.value for one in target.elements] if isinstance(target, libcst.Tuple) else [target]
            self._unsteady |= {name_of(one) for one in every}
        self._idle: set[libcst.CSTNode] = {
            one.target for node in module.all(libcst.Assign) if name_of(node.value) == "None" for one in node.targets
        }
        self._idle |= {
            node.target for node in module.all(libcst.AnnAssign) if node.value and name_of(node.value) == "None"
        }
        self._typing = [module.span(node.body) for node in module.all(libcst.If) if _is_typing(node.test)]

    def mean_callee(self, node: libcst.BaseExpression) -> bool:
        """Whether a name is what is called, and nothing else, whenever the code runs."""
        import libcst
        from libcst.metadata import QualifiedNameSource

        root: libcst.BaseExpression = node
        while isinstance(root, libcst.Attribute):
            root = root.value
        scope = self._module.scopes.get(node)
        if not isinstance(root, libcst.Name) or not scope or root.value in self._unsteady:
            return False
        names = scope.get_qualified_names_for(node)
        imported = {name.name for name in names if name.source is QualifiedNameSource.IMPORT}
        return imported == {self._callee} and self._is_steady(scope, root.value)

    def _is_steady(self, scope: Scope, name: str) -> bool:
        from libcst.metadata import Assignment, ImportAssignment

        serving = 0
        for one in scope[name]:
            if not isinstance(one, Assignment):
                return False
            if one.node in self._idle or self._is_for_typing(one.node):
                continue
            if not isinstance(one, ImportAssignment) or one.scope is not self._module.scopes.get(one.node):
                return False
            serving += 1
        return serving > 0

    def _is_for_typing(self, node: libcst.CSTNode) -> bool:
        start, _ = self._module.span(node)
        return any(low <= start < high for low, high in self._typing)


def _is_typing(test: libcst.BaseExpression) -> bool:
    import libcst

    return name_of(test.attr if isinstance(test, libcst.Attribute) else test) == "TYPE_CHECKING"


def name_of(node: libcst.CSTNode) -> str:
    """A name, or nothing if it is something else."""
    import libcst

    return node.value if isinstance(node, libcst.Name) else ""
