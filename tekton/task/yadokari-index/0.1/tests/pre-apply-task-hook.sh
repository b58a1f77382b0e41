#!/bin/bash
# Sourced by the catalog's test runner before the Task is applied: the builds whose images are joined. The registry
# stands beside the pods (resources.yaml), since three of them use it.
add_task yadokari-restricted latest
