#!/bin/bash
# Sourced by the catalog's test runner before the Pipeline is applied: the Tasks that it names.
add_task yadokari latest
add_task yadokari-index latest
