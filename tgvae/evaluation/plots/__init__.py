"""Plots of models and evaluations: functions from data to a Plotly figure, and the catalogue of all plots.

from tgvae.evaluation.plots.catalog import model_plots
model_plots(model, Corpus(folder, "train"), Corpus(folder, "test"), ["map", "documents"])["map"].figure.show()
"""
