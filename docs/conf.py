"""The documentation site: `sphinx-build -W --keep-going -b html docs build/site`.

Every page is a Markdown file that can be read where it is; the reference in api/ comes from the
docstrings, and the tutorials are run as the site is built.
"""

import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / 'docs' / '_ext')]
# The tutorials import l2o and reports from this checkout, and need no accelerator.
os.environ['PYTHONPATH'] = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
os.environ.setdefault('JAX_PLATFORMS', 'cpu')

project = 'l2o'
author = 'the l2o authors'
copyright = author
extensions = [
  'myst_nb',
  'sphinx.ext.autodoc',
  'sphinx.ext.napoleon',
  'docstrings',
  'public_names',
  'repository_links',
]
exclude_patterns = ['_ext']
default_role = 'py:obj'  # a name in backticks links to its entry, and any other one is code

html_theme = 'sphinx_book_theme'
html_title = 'l2o'
html_static_path = ['_static']
html_css_files = ['l2o.css']
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
  'show_navbar_depth': 1,
  'show_toc_level': 2,
  'use_download_button': False,
  'use_fullscreen_button': False,
}

autodoc_member_order = 'bysource'
autodoc_typehints = 'signature'
autodoc_typehints_format = 'short'
autodoc_preserve_defaults = True  # as they are written, with the names of constants
python_maximum_signature_line_length = 80
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_custom_sections = ['Source', ('Fields', 'params_style')]

myst_enable_extensions = ['colon_fence', 'deflist']
myst_heading_anchors = 3
suppress_warnings = ['myst.header']  # tables that a run printed begin at the third level
nb_execution_mode = 'force'
nb_execution_raise_on_error = True
nb_execution_timeout = 120
nb_merge_streams = True
