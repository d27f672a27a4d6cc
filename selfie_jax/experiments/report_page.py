"""One self-contained web page of a report's text and figures."""

import base64
import html as html_lib
import io
import re

import markdown
from matplotlib import figure as mpl_figure

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
:root {{ --text: #1c1c1c; --back: #fff; --line: #d5d5d5; --soft: #f4f5f7; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --text: #e4e4e4; --back: #16181c; --line: #3c4048;
    --soft: #22252b; }}
  a {{ color: #8ab4f8; }}
}}
body {{ color: var(--text); background: var(--back); margin: 0 auto;
  max-width: 60rem; padding: 1rem 1.2rem 3rem; line-height: 1.5;
  font-family: system-ui, sans-serif; overflow-wrap: break-word; }}
h1 {{ line-height: 1.2; }}
h2 {{ margin-top: 2.2rem; border-bottom: 1px solid var(--line); }}
table {{ display: block; overflow-x: auto; border-collapse: collapse;
  font-variant-numeric: tabular-nums; font-size: .92rem; }}
th, td {{ border-bottom: 1px solid var(--line); padding: .3rem .7rem;
  text-align: left; white-space: nowrap; }}
th {{ background: var(--soft); white-space: normal; vertical-align: bottom; }}
td.words {{ white-space: normal; min-width: 16rem; }}
code, pre {{ background: var(--soft); font-size: .85rem; border-radius: 4px; }}
code {{ padding: .1rem .25rem; }}
pre {{ padding: .7rem; overflow: auto; max-height: 24rem; }}
pre code {{ padding: 0; }}
p:has(> img) {{ overflow-x: auto; }}
img {{ display: block; width: 100%; min-width: 38rem; height: auto;
  background: #fff; border-radius: 6px; }}
</style>
</head>
<body>
{body}
</body>
</html>
"""
_IMAGE = re.compile(r'(<img[^>]* src=")(\w+)\.png(")')
_LONG = 60  # letters from which a table's cell may break its lines


def html(text: str, figures: dict[str, bytes]) -> str:
  """The page of a text in Markdown whose ![..](NAME.png) are in `figures`.

  Args:
    text: with its title in the first line.
    figures: PNG files by name.

  Returns:
    A page that needs nothing else, no network either.
  """
  body = markdown.markdown(text, extensions=['tables', 'fenced_code'])
  body = _IMAGE.sub(lambda m: m[1] + _data(figures[m[2]]) + m[3], body)
  body = re.sub(
    r'<td>([^\n]*)</td>',
    lambda m: m[0] if len(m[1]) < _LONG else f'<td class="words">{m[1]}</td>',
    body,
  )
  title = text.splitlines()[0].lstrip('# ')
  return _PAGE.format(title=html_lib.escape(title), body=body)


def table(head: list[str], rows: list[list[str]]) -> str:
  """A table in Markdown."""
  lines = [head, ['---'] * len(head), *rows]
  return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def png(figure: mpl_figure.Figure) -> bytes:
  """The PNG file of a figure, the same for the same figure."""
  buffer = io.BytesIO()
  figure.savefig(buffer, format='png', metadata={'Software': None})
  return buffer.getvalue()


def _data(image: bytes) -> str:
  return f'data:image/png;base64,{base64.b64encode(image).decode()}'
