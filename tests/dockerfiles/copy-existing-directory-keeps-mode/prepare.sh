chmod 2775 tree tree/nested
