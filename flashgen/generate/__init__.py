"""What is committed although it is derived: kernels of the gallery, the schema, tables of the documents."""
