"""Fails the build where a public name has no documentation: no docstring, or no place on an API page."""

import ast
from pathlib import Path

from astroid import nodes
from autoapi._parser import Parser
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

LOGGER = logging.getLogger(__name__)


def public_names(init: Path) -> list[str]:
    """The names in `__all__`, but for dunders."""
    for node in ast.parse(init.read_text()).body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == '__all__' for t in node.targets):
            return [name for name in ast.literal_eval(node.value) if not name.startswith('__')]
    raise ValueError(f'{init} has no __all__')


def check(app: Sphinx, env: BuildEnvironment) -> None:
    """Warns for every public name that no page describes (the event `env-check-consistency`)."""
    init = Path(app.config.public_package)
    described = env.domains['py'].objects
    for name in public_names(init):
        full = f'{init.parent.name}.{name}'
        if full not in described:
            LOGGER.warning('%s is public and stands on no API page (docs/api)', full)
        elif not env.autoapi_all_objects[full].docstring.strip():
            LOGGER.warning('%s is public and has no docstring', full)


def lift_conditional_imports() -> None:
    """Makes autoapi see the imports below a module's `if`: names that need OpenMMLab."""
    original = Parser.parse_module

    def parse_module(self: Parser, node: nodes.Module) -> list:
        node.body = [each for one in node.body for each in (one.body if isinstance(one, nodes.If) else [one])]
        return original(self, node)

    Parser.parse_module = parse_module


def setup(app: Sphinx) -> dict:
    lift_conditional_imports()
    app.add_config_value('public_package', None, 'env')
    app.connect('env-check-consistency', check)
    return {'parallel_read_safe': True}
