(function () {
  "use strict";
  var figures = JSON.parse(document.getElementById("figures").textContent);
  var config = { responsive: true, displaylogo: false, displayModeBar: false };
  var places = [];

  function colours() {
    var style = getComputedStyle(document.documentElement);
    function read(name) { return style.getPropertyValue("--" + name).trim(); }
    return { ink: read("ink"), grid: read("grid"), background: read("background") };
  }

  // Colours of texts, grids and grounds; those of points and lines are fit for both pages.
  function themed(layout, page) {
    var clear = "rgba(0,0,0,0)";
    layout.font = Object.assign({ size: 13 }, layout.font, { color: page.ink });
    layout.paper_bgcolor = clear;
    layout.plot_bgcolor = clear;
    layout.hoverlabel = {
      bgcolor: page.background, bordercolor: page.grid, align: "left",
      font: { color: page.ink, size: 13 }
    };
    Object.keys(layout).forEach(function (key) {
      if (/^[xy]axis/.test(key)) { axis(layout[key], page); }
    });
    if (layout.scene) {
      ["xaxis", "yaxis", "zaxis"].forEach(function (key) { axis(layout.scene[key], page); });
    }
    (layout.annotations || []).forEach(function (note) { note.font = { color: page.ink, size: 12 }; });
    return layout;
  }

  // On a narrow page the whole box is seen from farther away.
  function farther(layout) {
    var eye = layout.scene.camera.eye;
    Object.keys(eye).forEach(function (key) { eye[key] *= 1.4; });
    layout.height = 380;
  }

  function axis(found, page) {
    found.gridcolor = page.grid;
    found.linecolor = page.grid;
    found.tickcolor = page.grid;
    found.color = page.ink;
  }

  function inked(data, page) {
    data.forEach(function (trace) {
      if (trace.error_x) { trace.error_x.color = page.ink; }
    });
    return data;
  }

  function draw() {
    var page = colours();
    places.forEach(function (place, at) {
      var figure = figures[at];
      Plotly.react(place, inked(figure.data, page), themed(figure.layout, page), config);
    });
  }

  figures.forEach(function (figure, at) {
    var place = document.getElementById("chart-" + at);
    var wide = figure.layout.meta && figure.layout.meta.wide;
    if (figure.layout.scene && place.clientWidth < 500) { farther(figure.layout); }
    if (wide) { place.style.minWidth = wide + "px"; }
    places.push(place);
  });

  // plotly.js is in the page, packed.
  async function unpacked(element) {
    var bytes = Uint8Array.from(atob(element.textContent), function (c) { return c.charCodeAt(0); });
    var stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  }

  unpacked(document.getElementById("plotly")).then(function (source) {
    var script = document.createElement("script");
    script.textContent = source;
    document.head.appendChild(script);
    draw();
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  }).catch(function (error) {
    var note = document.createElement("p");
    note.textContent = "The charts cannot be drawn by this browser (one of 2023 or later can): " + error;
    document.querySelector("main").prepend(note);
    console.error(error);
  });
}());
