#!/bin/bash
# Sourced by the catalog's test runner before the Task is applied: it starts a registry beside the step.
add_sidecar_registry "${TMPF}"
