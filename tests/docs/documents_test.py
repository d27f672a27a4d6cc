"""The written documents say what the code says."""

import ast
import pathlib
import re

from matplotlib import image as mpl_image
import pytest
import yaml

from docs import concepts
from docs import performance
import selfie_jax
from selfie_jax import errors

ROOT = pathlib.Path(__file__).resolve().parents[2]
LINK = re.compile(r'\]\(([^)#\s]+)(?:#[^)]*)?\)|^\[[^\]]+\]: (\S+)', re.M)
DOCUMENTS = sorted([*ROOT.glob('*.md'), *(ROOT / 'docs').rglob('*.md')])


def test_performance_page_has_the_ledger():
  page = performance.PAGE.read_text()
  assert performance.table() in page, 'type python -m docs.performance'
  assert performance.filled(page, performance.table) == page
  page = performance.JOBS_PAGE.read_text()
  assert performance.filled(page, performance.jobs) == page


def test_exit_codes_are_those_that_commands_have():
  source = (ROOT / 'selfie_jax' / 'command_line.py').read_text()
  codes = {
    ast.unparse(node.args[0])
    for node in ast.walk(ast.parse(source))
    if isinstance(node, ast.Call) and ast.unparse(node.func) == 'sys.exit'
  } - {'mistake.exit_code'}
  for error in (errors.UserError, errors.Diverged, errors.MayPass):
    codes.add(str(error.exit_code))
  page = (ROOT / 'docs' / 'reliability.md').read_text()
  listed = set(re.findall(r'^\| (\d+) \|', page, re.M))
  assert listed == {'0', '1', *codes}


def test_linked_files_are_there_and_every_document_is_listed():
  for path in DOCUMENTS:
    for match in LINK.finditer(path.read_text()):
      target = match[1] or match[2]
      if '://' not in target:
        assert (path.parent / target).exists(), f'{path.name}: {target}'
  listed = (ROOT / 'README.md').read_text()
  for path in (ROOT / 'docs').glob('*.md'):
    assert f'(docs/{path.name})' in listed, path.name


def test_citation_is_of_this_software_and_of_the_paper():
  citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text())
  paper = citation['preferred-citation']
  assert str(citation['version']) == selfie_jax.__version__
  readme = (ROOT / 'README.md').read_text()
  assert f'{{{paper["title"]}}}' in readme and paper['url'] in readme


def test_figure_of_the_concepts():
  """It shows the job's puzzle, and the file is of it."""
  figure = concepts.draw()
  texts = [text.get_text() for text in figure.axes[0].texts]
  assert '4 targets' in texts and 'context: 12 patches' in texts
  # 4 targets twice, the context, the whole image.
  assert len(figure.axes[0].images) == 4 + 4 + 12 + 1
  height, width, _ = mpl_image.imread(concepts.PICTURE).shape
  inches = figure.get_size_inches()
  assert width / height == pytest.approx(inches[0] / inches[1], abs=0.01)
