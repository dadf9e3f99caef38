"""The look of the HTML report: one Jinja template with its CSS, no script, nothing that is fetched."""

STYLE = """
:root {
  color-scheme: light dark;
  --page: #ffffff; --text: #1c1f23; --faint: #5a626b; --line: #d5dae0; --panel: #f4f6f8; --link: #0b5cad;
  --warn: #8a4b00;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #15181c; --text: #e4e7eb; --faint: #a3acb6; --line: #3a424b; --panel: #1f242a; --link: #7db8f5;
    --warn: #f0b46a;
  }
  figure img { filter: brightness(0.92); }
}
* { box-sizing: border-box; }
html { scroll-padding-top: 3.5rem; -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--page); color: var(--text); overflow-wrap: anywhere;
  font: 16px/1.5 system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif;
}
main, header, footer { max-width: 76rem; margin: 0 auto; padding: 0 1rem; }
a { color: var(--link); }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 1.5rem 0 0.5rem; }
h2 {
  font-size: 1.4rem; line-height: 1.3; margin: 2.5rem 0 0.75rem; padding-top: 0.75rem;
  border-top: 1px solid var(--line);
}
h3 { font-size: 1.15rem; margin: 1.75rem 0 0.5rem; }
h4 { font-size: 1rem; margin: 1.25rem 0 0.5rem; }
code {
  font: 0.875em/1.4 ui-monospace, 'DejaVu Sans Mono', monospace; background: var(--panel); padding: 0.1em 0.3em;
  border-radius: 3px;
}
nav { position: sticky; top: 0; z-index: 3; background: var(--page); border-bottom: 1px solid var(--line); }
nav ul {
  display: flex; gap: 0.25rem 1.1rem; margin: 0 auto; padding: 0.6rem 1rem; max-width: 76rem; list-style: none;
  overflow-x: auto; white-space: nowrap; overflow-wrap: normal;
}
nav .group { font-weight: 600; }
.faint, figcaption { color: var(--faint); }
.warn { color: var(--warn); }
.scroll { overflow-x: auto; margin: 0.75rem 0; border: 1px solid var(--line); border-radius: 6px; }
.scroll:focus-visible { outline: 2px solid var(--link); outline-offset: 1px; }
table {
  border-collapse: collapse; font-size: 0.9rem; font-variant-numeric: tabular-nums; overflow-wrap: normal;
  min-width: 100%;
}
th, td { padding: 0.35rem 0.75rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
tbody tr:last-child > * { border-bottom: 0; }
thead th { background: var(--panel); vertical-align: bottom; }
th:first-child, td:first-child { position: sticky; left: 0; z-index: 1; background: var(--page); }
thead th:first-child, tbody th[scope=rowgroup] { background: var(--panel); }
td { white-space: nowrap; }
td:first-child { white-space: normal; min-width: 8rem; max-width: 26rem; overflow-wrap: break-word; font-weight: 500; }
td.reading { white-space: normal; min-width: 20rem; color: var(--faint); }
.number { text-align: right; white-space: nowrap; }
figure { margin: 1rem 0 1.5rem; }
figure .picture {
  display: block; overflow-x: auto; border: 1px solid var(--line); border-radius: 6px; background: #fff;
}
figure img { display: block; max-width: 100%; height: auto; margin: 0 auto; cursor: zoom-in; }
figure input { position: absolute; opacity: 0; }
figure input:checked + img { max-width: none; cursor: zoom-out; }
figure .picture:focus-within:has(:focus-visible) { outline: 2px solid var(--link); outline-offset: 1px; }
figcaption { font-size: 0.9rem; margin-top: 0.4rem; }
details { border: 1px solid var(--line); border-radius: 6px; margin: 0.75rem 0; padding: 0 0.9rem; }
summary { cursor: pointer; padding: 0.6rem 0; font-weight: 600; }
summary > :is(h3, h4) { display: inline; font-size: 1rem; margin: 0; }
summary .faint { font-weight: 400; }
footer { margin: 3rem auto 1.5rem; padding-top: 0.75rem; border-top: 1px solid var(--line); font-size: 0.9rem; }
@media (max-width: 40rem) {
  h1 { font-size: 1.4rem; }
  table { font-size: 0.85rem; }
  th, td { padding: 0.35rem 0.45rem; }
  td:first-child { min-width: 6rem; max-width: 8.5rem; }
  td.reading { min-width: 24rem; }
  td.number { white-space: normal; }
  td.number span { white-space: nowrap; }
  details { padding: 0 0.6rem; }
}
@media print { nav { position: static; } .scroll, figure .picture { overflow: visible; } }
"""

TEMPLATE = """
{%- macro heading(level, text, id='') -%}
<h{{ level }}{% if id %} id="{{ id }}"{% endif %}>{{ text }}</h{{ level }}>
{%- endmacro -%}

{%- macro picture(figure) -%}
<figure>
<label class="picture"><input type="checkbox" title="full size"><img src="data:image/png;base64,{{ figure.data }}"
 width="{{ figure.width }}" height="{{ figure.height }}" alt="{{ figure.alt }}"></label>
<figcaption>{{ figure.caption }}</figcaption>
</figure>
{%- endmacro -%}

{%- macro number(text) -%}
{%- for piece in text.split(' ± ') -%}
<span>{{ '' if loop.first else '± ' }}{{ piece }}</span>{{ '' if loop.last else ' ' }}
{%- endfor -%}
{%- endmacro -%}

{%- macro summary_table(part) -%}
<div class="scroll" tabindex="0" role="region" aria-label="{{ part.title }}">
<table>
<thead><tr><th scope="col">{{ part.title }}</th>
{% for name in part.names %}<th scope="col" class="number">{{ name }}</th>
{% endfor %}<th scope="col">how to read it</th></tr></thead>
{% for analysis in part.analyses %}<tbody>
<tr><th scope="rowgroup" colspan="{{ part.names | length + 2 }}">
<a href="#{{ analysis.id }}">{{ analysis.short }}</a></th></tr>
{% for row in analysis.rows %}<tr><td>{{ row.label }}</td>
{% for name in part.names %}<td class="number">{{ number(row.values.get(name, '')) }}</td>
{% endfor %}<td class="reading">{{ row.reading }}</td></tr>
{% endfor %}</tbody>
{% endfor %}</table>
</div>
{%- endmacro -%}

<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{{ title }}</title>
<style>{{ style }}</style>
</head>
<body>
<nav aria-label="sections"><ul>
{% for group in groups %}<li{% if groups | length > 1 %} class="group"{% endif %}><a href="#{{ group.id }}">
{{- group.name if groups | length > 1 else 'Summary' }}</a></li>
{% for section in group.sections %}<li><a href="#{{ section.id }}">{{ section.short }}</a></li>
{% endfor %}{% endfor %}</ul></nav>
<header><h1>{{ title }}</h1></header>
<main>
{% set base = 3 if groups | length > 1 else 2 %}
{% for group in groups %}
{{ heading(2, group.name if groups | length > 1 else 'Summary', group.id) }}
{% if group.checkpoints %}<ul>
{% for each in group.checkpoints %}<li><strong>{{ each.name }}</strong>: <code>{{ each.path }}</code>
{%- if each.get('what') %}, {{ each.what }}{% endif %} <span class="faint">({{ each.used_by | join(', ') }})</span></li>
{% endfor %}</ul>{% endif %}
{% for name in group.ambiguous %}<p class="warn"><strong>{{ name }}</strong> is not the same file in all analyses.</p>
{% endfor %}
{% for part in group.summary %}{{ summary_table(part) }}
{% endfor %}
{% if group.missing %}<p class="faint">Not in <code>{{ group.path }}</code>:
{% for name in group.missing %}{{ name }} (<code>tools/{{ name }}.py</code>){{ '' if loop.last else ', ' }}
{%- endfor %}.</p>
{% endif %}
{% for section in group.sections %}
<section>
{{ heading(base, section.title, section.id) }}
{% for note in section.notes %}<p class="warn">{{ note }}</p>
{% endfor %}
{% for figure in section.figures %}{{ picture(figure) }}
{% endfor %}
{% if section.pages %}<details><summary>{{ section.pages[0].caption.split(' (')[0] }} <span class="faint">
{{- section.pages | length }} figures</span></summary>
{% for figure in section.pages %}{{ picture(figure) }}
{% endfor %}</details>
{% endif %}
{% for block in section.blocks %}
{% if block.rows > long %}<details><summary>{{ heading(base + 1, block.title or 'Table') }} <span class="faint">
{{- block.rows }} rows</span></summary>
{{ block.html }}</details>
{% else %}{% if block.title %}{{ heading(base + 1, block.title) }}{% endif %}
{{ block.html }}
{% endif %}{% endfor %}
</section>
{% endfor %}
{% endfor %}
</main>
<footer class="faint">{{ made }}. A click or tap on a figure shows it in full size. The page is one file and fetches
nothing.</footer>
</body>
</html>
"""
