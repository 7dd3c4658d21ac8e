"use strict";

const page = document.getElementById("swagger-ui");
SwaggerUIBundle({
  url: page.dataset.document,
  domNode: page,
  tryItOutEnabled: true,
  defaultModelsExpandDepth: 0,
  // It would ask a server on the internet.
  validatorUrl: null,
});
