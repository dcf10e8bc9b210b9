"""The report of a study: one HTML file that needs no network and can be sent to anyone.

`page.page(study)` puts the sections together; a section is a function of the study (`sections/`, one file each). All
text of the data passes through `html.escape`. `script.js` only adds to what can be read without it.
"""
