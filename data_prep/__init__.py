"""Raw corpora to prepared folders (`tgvae.data.schema`); needs no torch."""
