"""The dotted names that a module uses, and what binds them in which scope, by the standard library's ast alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Binding:
    """One thing that gives a name its value."""

    imports: str | None = None
    """The qualified name that an import gives it, with leading dots where that is relative."""
    copies: tuple[str, ...] = ()
    """The dotted name that an assignment copies."""
    idle: bool = False
    """Whether code that runs never meets it: None, or an import for type checkers."""
    scope: Scope
    block: list[ast.stmt]
    """The statements among which it stands."""
    statement: ast.stmt | None


@dataclass(slots=True, kw_only=True, eq=False)
class Scope:
    """A module, function, class or comprehension, and what it binds."""

    kind: str
    parent: Scope | None
    bindings: dict[str, list[Binding]] = field(default_factory=dict)
    elsewhere: dict[str, str] = field(default_factory=dict)
    """The names that it declares `global` or `nonlocal`."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Use:
    """A dotted name, as long as it is: `torch.isin.__doc__` is one use."""

    node: ast.Name | ast.Attribute
    parts: tuple[str, ...]
    scope: Scope
    call: ast.Call | None
    """The call, if this is what is called."""
    line: int
    shown: bool
    """Whether it stands in an f-string that shows the text of its expression, such as f"{x=}"."""


class Reading(ast.NodeVisitor):
    """The uses of names in a module, and what binds them. Raises RecursionError where the tree is too deep."""

    def __init__(self, module: ast.Module) -> None:
        self.module = Scope(kind="module", parent=None)
        self.scopes = [self.module]
        self.uses: list[Use] = []
        self.unsteady: set[str] = set()
        """Names that something deletes or binds in a way of its own: they are never taken for what they import."""
        self.stars: set[str] = set()
        """The modules of which everything is imported."""
        self._scope, self._block, self._statement = self.module, module.body, None
        self._typing, self._fstring, self._shown = False, 0, False
        self._calls: dict[ast.expr, ast.Call] = {}
        self._visit_block(module.body)
        self._carry_over()

    _scope: Scope
    _block: list[ast.stmt]
    _statement: ast.stmt | None

    def generic_visit(self, node: ast.AST) -> None:
        """Visit the children, keeping track of the block that each statement stands in."""
        for _, value in ast.iter_fields(node):
            if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
                self._visit_block(value)
            else:
                self._visit_all(value if isinstance(value, list) else [value])

    def _visit_block(self, block: list[ast.stmt]) -> None:
        outer = self._block, self._statement
        for statement in block:
            self._block, self._statement = block, statement
            self.visit(statement)
        self._block, self._statement = outer

    def _visit_all(self, nodes: Sequence[object]) -> None:
        for node in nodes:
            if isinstance(node, ast.AST):
                self.visit(node)

    @contextmanager
    def _inside(self, kind: str) -> Iterator[None]:
        outer = self._scope
        self._scope = Scope(kind=kind, parent=outer)
        self.scopes.append(self._scope)
        yield
        self._scope = outer

    def _bind(self, name: str, *, imports: str | None = None, copies: tuple[str, ...] = (), idle: bool = False) -> None:
        made = Binding(
            imports=imports,
            copies=copies,
            idle=idle or self._typing,
            scope=self._scope,
            block=self._block,
            statement=self._statement,
        )
        self._scope.bindings.setdefault(name, []).append(made)

    def _carry_over(self) -> None:
        """Give what is bound under `global` or `nonlocal` to the scope that has the name."""
        for scope in self.scopes:
            for name in scope.elsewhere:
                if moved := scope.bindings.pop(name, []):
                    home(scope, name).bindings.setdefault(name, []).extend(moved)

    # What binds

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            first = alias.name.partition(".")[0]
            self._bind(alias.asname or first, imports=alias.name if alias.asname else first)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            if alias.name == "*":
                self.stars.add("." * node.level + (node.module or ""))
            else:
                self._bind(alias.asname or alias.name, imports="." * node.level + f"{node.module or ''}.{alias.name}")

    def visit_Assign(self, node: ast.Assign) -> None:
        self._assign(node.targets, node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self.visit(node.annotation)
        self._assign([node.target], node.value)

    def _assign(self, targets: Sequence[ast.expr], value: ast.expr | None) -> None:
        nothing = isinstance(value, ast.Constant) and value.value is None
        self._visit_all([value])
        for target in targets:
            if isinstance(target, ast.Name):
                self._bind(target.id, copies=dotted(value), idle=nothing)
            else:
                self.visit(target)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.visit(node.value)
        inner = self._scope
        while self._scope.kind == "comprehension" and self._scope.parent:
            self._scope = self._scope.parent
        self._bind(node.target.id, copies=dotted(node.value))
        self._scope = inner
        self.unsteady.add(node.target.id)

    def visit_Global(self, node: ast.Global) -> None:
        self._scope.elsewhere.update(dict.fromkeys(node.names, "global"))

    def visit_Nonlocal(self, node: ast.Nonlocal) -> None:
        self._scope.elsewhere.update(dict.fromkeys(node.names, "nonlocal"))

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name:
            self._bind(node.name)
        self.generic_visit(node)

    def _visit_capture(self, node: ast.AST) -> None:
        name = getattr(node, "rest", None) or getattr(node, "name", None)
        if isinstance(name, str):
            self._bind(name)
            self.unsteady.add(name)
        self.generic_visit(node)

    visit_MatchAs = visit_MatchStar = visit_MatchMapping = _visit_capture  # noqa: N815
    visit_TypeVar = visit_ParamSpec = visit_TypeVarTuple = _visit_capture  # noqa: N815

    # What has a scope of its own

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._bind(node.name)
        self._visit_all([*node.decorator_list, node.returns])
        self._visit_function(node, getattr(node, "type_params", []))

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._visit_function(node, [])

    def _visit_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, types: list[ast.AST]) -> None:
        taken = node.args
        every = [*taken.posonlyargs, *taken.args, taken.vararg, *taken.kwonlyargs, taken.kwarg]
        self._visit_all([*taken.defaults, *taken.kw_defaults, *(one.annotation for one in every if one)])
        with self._inside("function"):
            for one in every:
                if one:
                    self._bind(one.arg)
            self._visit_all(types)
            if isinstance(node.body, list):
                self._visit_block(node.body)
            else:
                self.visit(node.body)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._bind(node.name)
        self._visit_all([*node.decorator_list, *node.bases, *node.keywords])
        with self._inside("class"):
            self._visit_all(getattr(node, "type_params", []))
            self._visit_block(node.body)

    def _visit_comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> None:
        first, *rest = node.generators
        self.visit(first.iter)
        with self._inside("comprehension"):
            self._visit_all([first.target, *first.ifs, *rest])
            self._visit_all([node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt])

    visit_ListComp = visit_SetComp = visit_GeneratorExp = visit_DictComp = _visit_comprehension  # noqa: N815

    # What uses

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        outer, self._typing = self._typing, self._typing or dotted(node.test)[-1:] == ("TYPE_CHECKING",)
        self._visit_block(node.body)
        self._typing = outer
        self._visit_block(node.orelse)

    def visit_Call(self, node: ast.Call) -> None:
        self._calls[node.func] = node
        self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        if not isinstance(node.ctx, ast.Load):
            self._bind(node.id)
        if isinstance(node.ctx, ast.Del):
            self.unsteady.add(node.id)
        self._use(node, (node.id,))

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if parts := dotted(node):
            self._use(node, parts)
        else:
            self.visit(node.value)

    def _use(self, node: ast.Name | ast.Attribute, parts: tuple[str, ...]) -> None:
        if not isinstance(node, ast.Name) or isinstance(node.ctx, ast.Load):
            line = self._fstring or node.lineno  # Python 3.11 and older count lines inside an f-string wrongly
            call = self._calls.get(node)
            use = Use(node=node, parts=parts, scope=self._scope, call=call, line=line, shown=self._shown)
            self.uses.append(use)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        outer = self._fstring, self._shown
        before = ""
        self._fstring = self._fstring or node.lineno
        for value in node.values:
            self._shown = outer[1] or _shows(before, value)
            self.visit(value)
            before = str(value.value) if isinstance(value, ast.Constant) else ""
        self._fstring, self._shown = outer


def _shows(before: str, value: ast.expr) -> bool:
    """Whether the text `before` is that of the expression itself, as f"{x = }" has it."""
    if not isinstance(value, ast.FormattedValue):
        return False
    return "".join(before.split()).endswith("".join(ast.unparse(value.value).split()) + "=")


def dotted(node: ast.AST | None) -> tuple[str, ...]:
    """The parts of a dotted name; none, if it is something else."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.insert(0, node.attr)
        node = node.value
    return (node.id, *parts) if isinstance(node, ast.Name) else ()


def home(scope: Scope, name: str) -> Scope:
    """The scope that `global` or `nonlocal` name."""
    wanted, found = scope.elsewhere[name], scope
    while found.parent:
        found = found.parent
        if wanted == "nonlocal" and found.kind == "function" and name in found.bindings:
            break
    return found
